"""Fetching and publishing detectors with the hub's own client and its cache, without a network."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import pytest

from glass.model import hub
from shards.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of an exported model, and a file that must not be uploaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (*hub.MODEL_FILES, "secret.txt"):
        (folder / name).write_text(name)
    return folder


class LocalHub:
    """A folder that replaces the hub. Its methods do on files what ``HfApi`` and ``snapshot_download`` do."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create_repo(self, repo_id, private, exist_ok):
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id, folder_path, allow_patterns):
        for name in allow_patterns:
            if (Path(folder_path) / name).exists():
                shutil.copy(Path(folder_path) / name, self.root / repo_id / name)
        return SimpleNamespace(repo_url=f"local/{repo_id}")

    def snapshot_download(self, repo_id, revision, allow_patterns, local_files_only):
        assert set(allow_patterns) == set(hub.MODEL_FILES)
        return str(self.root / repo_id)


@pytest.fixture
def online(monkeypatch, tmp_path):
    local = LocalHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_answers", lambda endpoint: True)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: local)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", local.snapshot_download)
    return local


def test_what_is_published_comes_back(online, folder, tmp_path, monkeypatch):
    assert hub.publish(folder, "someone/detector") == "local/someone/detector"
    monkeypatch.chdir(tmp_path)
    fetched = hub.model_folder("someone/detector")
    assert sorted(path.name for path in fetched.iterdir()) == sorted(hub.MODEL_FILES)


def test_a_folder_goes_before_a_name(folder, tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    shutil.copytree(folder, tmp_path / "some" / "run" / "model")
    monkeypatch.chdir(tmp_path)
    assert hub.model_folder("some/run") == Path("some/run/model")
    assert hub.model_folder(folder) == folder


def unreachable(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_without_network_one_sentence(monkeypatch, tmp_path, folder):
    unreachable(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot be reached, and the model is not in the cache"):
        hub.model_folder("someone/detector")
    with pytest.raises(InputError, match="cannot be reached"):
        hub.publish(folder, "someone/detector")


def test_without_network_the_cache_is_used(monkeypatch, tmp_path, folder):
    """The cache has the layout that the hub's client writes, and the client itself finds the model in it."""
    unreachable(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    commit = "a" * 40
    repo = tmp_path / "cache" / "models--someone--detector"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    from huggingface_hub import snapshot_download

    def cached(*arguments, **options):
        return snapshot_download(*arguments, cache_dir=tmp_path / "cache", **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    fetched = hub.model_folder("someone/detector")
    assert (fetched / "config.json").read_text() == "config.json"


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../x", "-a/b", "a b/c", ""])
def test_names_that_are_none(name, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        hub.publish(folder, name)
    if name:
        with pytest.raises(InputError, match="does not exist"):
            hub.model_folder(name)


def test_a_connection_that_breaks_is_reported(online, folder, monkeypatch, tmp_path):
    """httpx's exceptions are not OSErrors, so they must be caught separately."""

    class HTTPError(Exception):
        pass

    def breaks(*_, **__):
        raise HTTPError("peer closed connection\nlong story")

    monkeypatch.setitem(sys.modules, "httpx", SimpleNamespace(HTTPError=HTTPError))
    monkeypatch.setattr(online, "upload_folder", breaks)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", breaks)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"refused someone/detector \(peer closed connection\)"):
        hub.publish(folder, "someone/detector")
    with pytest.raises(InputError, match=r"the hub failed \(peer closed connection\)"):
        hub.model_folder("someone/detector")


def test_what_the_hub_refuses_is_reported(online, folder, monkeypatch):
    def refuse(repo_id, **arguments):
        raise OSError("403 Forbidden\nlong story")

    monkeypatch.setattr(online, "create_repo", refuse)
    with pytest.raises(InputError, match="refused someone/detector") as caught:
        hub.publish(folder, "someone/detector")
    assert "\n" not in str(caught.value)


def test_a_local_model_has_no_revision(folder):
    with pytest.raises(InputError, match="is a folder on this machine, which has no revision 'main'"):
        hub.model_folder(folder, "main")

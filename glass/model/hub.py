"""Downloads detectors from the model hub and publishes them there, in file formats without pickle.

Before the hub is used, one request checks whether it responds. Without this check, the hub's client would retry for
four minutes before giving up, even if the files are in its cache.
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.utils import get_session

from shards.cli.shown_url import safe_text
from shards.errors import InputError

__all__ = ["MODEL_FILES", "cache_only_if_unreachable", "local_folder", "model_folder", "publish"]

MODEL_FILES = ("config.json", "model.safetensors", "calibration.json", "README.md", "learnt_ids.parquet")
"""The model files that are downloaded or published; all other files in a repository are ignored."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

PROBE_TIMEOUT_S = 10.0
"""Time limit, in seconds, for the request that checks whether the hub responds. It is long enough for a slow network;
without a network the request fails within milliseconds."""


@contextmanager
def cache_only_if_unreachable() -> Iterator[None]:
    """Context manager: within it, the hub's client reads only from its cache if the hub does not respond."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    """Whether ``endpoint`` responds to an HTTP request sent with the hub client's proxies and certificates."""
    try:
        get_session().head(endpoint, timeout=PROBE_TIMEOUT_S)
    except Exception:  # of whichever HTTP library the client was built on
        return False
    return True


def model_folder(path_or_hub_id: str | Path, revision: str | None = None) -> Path:
    """The folder that holds a model: ``model`` in a run, an exported folder, or the cached download of a hub model.

    ``path_or_hub_id`` is a local path or ``user/name`` on the hub; an existing path takes precedence. ``revision``
    applies to the hub only. Raises ``InputError`` if there is no such model, if a revision of a local path is wanted,
    or if the hub cannot be reached and the model is not in the cache.
    """
    here = local_folder(path_or_hub_id)
    if here is not None and revision is not None:
        raise InputError(
            f"{path_or_hub_id} is a folder on this machine, which has no revision {revision!r}: leave the "
            "revision out, or give a model on the hub"
        )
    return _fetch(str(path_or_hub_id), revision) if here is None else here


def local_folder(path_or_hub_id: str | Path) -> Path | None:
    """Returns a model's folder on this machine, or None for a name on the hub. The hub is not contacted.

    Raises ``InputError`` if the path is a file, or if it neither exists nor has the form of a name on the hub. Does not
    import torch.
    """
    path = Path(path_or_hub_id)
    if path.exists():
        if not path.is_dir():
            raise InputError(f"{path} is a file: give the folder of a run or of an exported model")
        return path / "model" if (path / "model").is_dir() else path
    if not _HUB_ID.fullmatch(str(path_or_hub_id)):
        raise InputError(
            f"{path_or_hub_id} does not exist: give the folder of a trained run or of an exported"
            " model, or USER/NAME on the Hugging Face hub"
        )
    return None


def _fetch(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    offline = not _answers(huggingface_hub.constants.ENDPOINT)
    try:
        folder = snapshot_download(
            repo_id, revision=revision, allow_patterns=list(MODEL_FILES), local_files_only=offline
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"there is no folder {repo_id}, and the hub has no such model or revision, or does not let you read it: "
            "check the name, or log in with `hf auth login`"
        ) from error
    except _client_errors() as error:
        why = "cannot be reached" if offline else f"failed ({safe_text(error)})"
        raise InputError(
            f"there is no folder {repo_id}, the hub {why}, and the model is not in the cache: check your connection, "
            "or give a local folder"
        ) from error
    return Path(folder)


def publish(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Uploads the model in ``folder`` to ``user/name`` on the hub, and returns its address.

    The repository is created if it does not exist. Raises ``InputError`` if ``repo_id`` does not have the form
    ``user/name``, or if the hub cannot be reached or refuses the upload.
    """
    from huggingface_hub import HfApi

    if not _HUB_ID.fullmatch(repo_id):
        raise InputError(f"{repo_id!r} is not a name on the hub: give USER/NAME")
    if not _answers(huggingface_hub.constants.ENDPOINT):
        raise InputError(f"cannot publish {repo_id}: the hub cannot be reached: check your connection")
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=list(MODEL_FILES))
    except _client_errors() as error:
        raise InputError(
            f"the hub refused {repo_id} ({safe_text(error)}): log in with `hf auth login`, and"
            " check that the name is yours"
        ) from error
    return str(getattr(done, "repo_url", f"{huggingface_hub.constants.ENDPOINT}/{repo_id}"))


def _client_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions that the hub's client, and the HTTP library it uses, may raise.

    The exceptions of ``requests`` are subclasses of ``OSError``. Those of ``httpx`` and ``httpx2`` are not; the client
    has used ``httpx`` since version 1 and ``httpx2`` since version 2.
    """
    from huggingface_hub import errors

    raised: list[type[Exception]] = [errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError, ValueError]
    for library in ("httpx", "httpx2"):
        with suppress(ImportError):
            raised.append(importlib.import_module(library).HTTPError)
    return tuple(raised)

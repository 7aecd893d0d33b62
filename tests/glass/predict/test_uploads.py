"""Uploads to the demo page can be read by nobody else, are limited in size, and are deleted in the end."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from glass.share.uploads import KEPT_FOR_S, MAX_UPLOAD_BYTES, delete_old, upload_folder
from scripts import demo


def test_uploads_lie_in_a_folder_of_their_own_and_go_with_it(tmp_path: Path) -> None:
    mask, before = os.umask(0o022), os.environ.get("GRADIO_TEMP_DIR")
    try:
        with upload_folder() as folder:
            assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
            (folder / "hash").mkdir()
            file = folder / "hash" / "photo.jpg"
            file.write_bytes(b"photo")
            with tempfile.NamedTemporaryFile(delete=False) as received:
                assert Path(received.name).parent == folder
            assert folder.stat().st_mode & 0o777 == 0o700
            assert file.stat().st_mode & 0o777 == 0o600
        assert not folder.exists()
        assert Path(tempfile.gettempdir()) != folder
        assert os.environ.get("GRADIO_TEMP_DIR") == before
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(mask)


def test_old_ones_are_deleted_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/old", "new"):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / "a" / "old", (0, time.time() - KEPT_FOR_S - 1))
    assert delete_old(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "new"]
    assert delete_old(tmp_path, time.time() + KEPT_FOR_S + 9) == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_page_takes_no_more_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
    """Uploads are limited in size, and deleted however the page ends: by Ctrl-C, by SIGTERM or in a worse way."""
    seen: dict[str, Any] = {}

    class Page:
        def launch(self, **options: Any) -> None:
            seen.update(options)
            seen["file"] = Path(os.environ["GRADIO_TEMP_DIR"]) / "photo.jpg"
            seen["file"].write_bytes(b"photo")

        def close(self, **_: Any) -> None:
            seen["closed"] = True

    def interrupted(_: float) -> None:
        assert seen["file"].exists()
        raise end

    monkeypatch.setattr("glass.predict.detector.Detector.from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr("glass.share.demo_page.build_page", lambda *_: Page())
    monkeypatch.setattr("scripts.demo.time.sleep", interrupted)
    monkeypatch.setattr("scripts.demo.signal.signal", lambda *_: None)
    if end is KeyboardInterrupt:
        assert demo.main(["run"]) == 0
        assert seen["closed"]
    else:
        with pytest.raises(end):
            demo.main(["run"])
    assert seen["max_file_size"] == MAX_UPLOAD_BYTES < 300 << 20
    assert not seen["file"].exists()
    assert not seen["file"].parent.exists()

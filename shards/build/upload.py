"""Builds a data set in a store: shards are made on this machine and uploaded one by one.

A local folder holds the plan and the shards' manifests, which are small. A shard's tar is deleted once the store has
it. A shard's manifest is uploaded last and marks the shard as done in the store, so that any machine can continue an
interrupted build.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from shards.build.writer import ShardTask
from shards.errors import InputError
from shards.files.atomic import atomic_path, write_bytes_atomic
from shards.files.file_names import within
from shards.files.limits import limit
from shards.files.locks import lock_unused
from shards.manifest.info import INFO_NAME, DatasetInfo, parse_info
from shards.store.folder import RemoteFolder
from shards.store.settings import RemoteSettings

__all__ = ["RemoteOutput", "UploadedShardTask"]

_TASK_PREFIX, _SETTLED_S = "task-", 60.0


@dataclass(frozen=True, slots=True)
class UploadedShardTask:
    """Writes one shard and uploads it. Can be pickled."""

    task: ShardTask
    url: str
    elsewhere: bool
    """Whether the task may run on a machine other than the one that began the build. If so, the task works in a
    temporary folder in that machine's cache folder, and deletes it at the end."""

    @property
    def num_images(self) -> int:
        return self.task.num_images

    def write(self, advance: Callable[[], object]) -> None:
        """Writes the shard, uploads its tar, index and manifest in this order, and deletes the local tar and index."""
        if self.elsewhere:
            with _own_folder(RemoteSettings.from_environment().folder / "builds") as folder:
                self._write(replace(self.task, out=folder), advance)
        else:
            self._write(self.task, advance)

    def _write(self, task: ShardTask, advance: Callable[[], object]) -> None:
        task.write(advance)
        plan, out = task.plan, task.out
        remote = RemoteFolder(self.url)
        big = [out / plan.name, out / f"{plan.stem}.idx"]
        for path in big:
            if path.exists():  # missing if all images were rejected
                remote.write(path, path.name)
        remote.write(task.manifest, task.manifest.name)
        for path in big:
            with suppress(FileNotFoundError):
                path.unlink()


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """Context manager: creates a folder for one task, yields its path, and deletes it at the end.

    The folder stays locked until it is deleted. Folders without a lock were left by killed processes, and are deleted
    first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob(f"{_TASK_PREFIX}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _SETTLED_S:  # a living owner has locked it by now
                with lock_unused(path):
                    shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_TASK_PREFIX, dir=parent))
    try:
        with lock_unused(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RemoteOutput:
    """The store that a build writes to, and the build's local working folder."""

    def __init__(self, url: str, plan_name: str) -> None:
        """Connects to the store at ``url``. ``plan_name`` is the file name of build plans.

        Raises ``InputError`` if the store cannot be written to, or if it holds files but no build plan.
        """
        self.remote = RemoteFolder(url)
        if url.startswith(("http://", "https://", "hf://")):
            raise InputError(f"{self.remote} can be read but not written: build into a folder, or into s3:// or gs://")
        name = hashlib.sha256(url.encode()).hexdigest()[:20]
        self.folder = self.remote.settings.folder / "builds" / name
        self._plan_name = plan_name
        self._there = {name for name, _ in self.remote.children()}
        if self._there and plan_name not in self._there:
            raise InputError(
                f"{self.remote} is not empty and was not written by this command (it holds "
                f"{min(self._there)}): give a new address"
            )

    def pull(self) -> None:
        """Downloads the build's plan and manifests, and deletes local files that the store does not have."""
        self.folder.mkdir(parents=True, exist_ok=True)
        small = {n for n in self._there if n == self._plan_name or n.endswith(".parquet")}
        for path in list(self.folder.iterdir()):
            if path.is_file() and path.name not in small:
                path.unlink()
        self.pull_manifests(small)

    def pull_manifests(self, names: Iterable[str]) -> None:
        """Downloads those of ``names`` that are missing from the local folder because other machines uploaded them."""
        missing = [name for name in names if not within(self.folder, name).exists()]
        most = self.remote.settings.cache_bytes

        def pull(name: str) -> None:
            with atomic_path(within(self.folder, name)) as temporary:
                self.remote.stream(name, temporary, None, most)

        with ThreadPoolExecutor(self.remote.settings.connections) as pool:
            list(pool.map(pull, missing))

    def has(self, name: str) -> bool:
        """Whether the store held the file when the build began."""
        return name in self._there

    def task(self, task: ShardTask, elsewhere: bool) -> UploadedShardTask:
        """Returns a task that writes a shard, by running ``task``, and then uploads it."""
        return UploadedShardTask(task, self.remote.url, elsewhere)

    def push(self, *names: str) -> None:
        """Uploads files from the local folder one by one, in the given order."""
        for name in names:
            self.remote.write(self.folder / name, name)

    def info(self) -> DatasetInfo:
        """Downloads and returns the finished data set's description (``dataset.json``)."""
        data = self.remote.read(INFO_NAME, limit("MAX_JSON_BYTES"))
        info = parse_info(data, f"{self.remote}/{INFO_NAME}")
        write_bytes_atomic(self.folder / INFO_NAME, data)
        return info

    @property
    def is_finished(self) -> bool:
        """Whether the store held a finished data set when the build began."""
        return self.has(INFO_NAME)

"""A build whose data set lies in a store: shards are made here and sent there one by one.

A local folder holds the plan and the shards' manifests, which are small; a shard's tar is deleted
once the store has it. The store's copy of a shard's manifest is sent last and says that the shard
is done, so any machine can go on with an interrupted build.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shards.atomic import write_bytes_atomic
from shards.command import InputError
from shards.dataset_info import INFO_NAME, DatasetInfo, read_info
from shards.remote import RemoteFolder
from shards.remote_settings import RemoteSettings
from shards.shard_writer import ShardTask

__all__ = ["RemoteOutput", "UploadedShardTask"]


@dataclass(frozen=True, slots=True)
class UploadedShardTask:
    """The work of one shard and of sending it; picklable."""

    task: ShardTask
    url: str
    settings: RemoteSettings

    @property
    def num_images(self) -> int:
        return self.task.num_images

    def write(self, advance: Callable[[], object]) -> None:
        """Writes the shard, sends tar, index and manifest in this order, deletes tar and index."""
        self.task.write(advance)
        plan, out = self.task.plan, self.task.out
        remote = RemoteFolder(self.url, self.settings)
        big = [out / plan.name, out / f"{plan.stem}.idx"]
        for path in big:
            if path.exists():  # there is none where all images were rejected
                remote.write(path, path.name)
        remote.write(self.task.manifest, self.task.manifest.name)
        for path in big:
            with suppress(FileNotFoundError):
                path.unlink()


class RemoteOutput:
    """The store that a build writes to, and the local folder that it works in."""

    def __init__(self, url: str, plan_name: str) -> None:
        """Raises ``InputError`` where the store holds something else."""
        self.remote = RemoteFolder(url)
        if url.startswith(("http://", "https://", "hf://")):
            raise InputError(
                f"{self.remote} can be read but not built into: build into a folder, or into "
                "s3:// or gs://"
            )
        name = hashlib.sha256(url.encode()).hexdigest()[:20]
        self.folder = self.remote.settings.folder / "builds" / name
        self._plan_name = plan_name
        self._there = {name for name, _ in self.remote.children()}
        if self._there and plan_name not in self._there:
            raise InputError(
                f"{self.remote} is not empty and was not begun by this command (it holds "
                f"{min(self._there)}): give a new address"
            )

    def pull(self) -> None:
        """Brings the state of the build here: what the store has counts, what only lies here does
        not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        small = {n for n in self._there if n == self._plan_name or n.endswith(".parquet")}
        for path in list(self.folder.iterdir()):
            if path.is_file() and path.name not in small:
                path.unlink()
        for name in sorted(small):
            if not (self.folder / name).exists():
                write_bytes_atomic(self.folder / name, self.remote.read(name))

    def has(self, name: str) -> bool:
        """Whether the store held a file when the build began."""
        return name in self._there

    def task(self, task: ShardTask) -> UploadedShardTask:
        """The task of a shard that is to be sent to the store."""
        return UploadedShardTask(task, self.remote.url, self.remote.settings)

    def push(self, *names: str) -> None:
        """Sends files of the folder, in this order."""
        for name in names:
            self.remote.write(self.folder / name, name)

    def info(self) -> DatasetInfo:
        """What the finished data set in the store holds."""
        write_bytes_atomic(self.folder / INFO_NAME, self.remote.read(INFO_NAME))
        return read_info(self.folder)

    @property
    def is_finished(self) -> bool:
        """Whether the store holds a finished data set."""
        return self.has(INFO_NAME)

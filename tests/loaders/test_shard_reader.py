"""Mapped shards: there are never more of them than files that the process may have open."""

import os
import resource
import traceback
from pathlib import Path

import pytest

from loaders.reading.mapped_shards import MappedShards


@pytest.fixture(scope="module")
def many_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(150):
        (folder / f"{number:04d}").write_bytes(b"%04d" % number)
    return folder


def read_all(folder: Path, soft: int, hard: int, expected: int) -> None:
    """Reads the files as two groups of shards under these limits, opens some more, and asserts that the soft limit is
    ``expected`` afterwards."""
    paths = sorted(folder.iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    images, members = MappedShards(paths), MappedShards(paths)
    for _ in range(2):
        for number in range(len(paths)):
            for shards in (images, members):
                assert bytes(shards.member(number, 0, 4)) == b"%04d" % number
    others = [paths[0].open("rb") for _ in range(soft // 3)]
    assert len(others) == soft // 3
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == expected


def assert_limit_after(folder: Path, soft: int, hard: int, expected: int) -> None:
    """Runs ``read_all`` in a child process without open files, because a hard limit cannot be raised again."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.closerange(3, most)
            read_all(folder, soft, hard, expected)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_more_shards_than_files_that_may_be_open(many_files):
    assert_limit_after(many_files, 100, 100, 100)


@pytest.mark.slow  # that more shards than files are read is tested above
def test_the_limit_is_raised_where_that_is_allowed(many_files):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = 900 if hard == resource.RLIM_INFINITY else min(hard, 900)
    assert_limit_after(many_files, 100, allowed, allowed)

"""Mapped shards: there are never more of them than files that the process may have open."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from pathlib import Path
from loaders.reading.mapped_shards import MappedShards

folder, soft, hard = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
paths = sorted(folder.iterdir())
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
images, members = MappedShards(paths), MappedShards(paths)
for turn in range(2):
    for number in range(len(paths)):
        for shards in (images, members):
            data = shards.member(number, 0, 4)
            assert bytes(data) == b"%04d" % number
others = [paths[0].open("rb") for _ in range(soft // 3)]
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.fixture(scope="module")
def many_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(400):
        (folder / f"{number:04d}").write_bytes(b"%04d" % number)
    return folder


def limit_after(folder: Path, soft: int, hard: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(soft), str(hard)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def test_more_shards_than_files_that_may_be_open(many_files):
    assert limit_after(many_files, 200, 200) == 200


@pytest.mark.slow  # a process; that more shards than files are read is tested above
def test_the_limit_is_raised_where_that_is_allowed(many_files):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = 900 if hard == resource.RLIM_INFINITY else min(hard, 900)
    assert limit_after(many_files, 200, allowed) == allowed

"""Makes the folder ``scripts`` importable by its name in a wheel, for an editable install, which copies no files."""

from pathlib import Path

import shards.cli.installed  # noqa: F401, first of all

__path__ = [str(Path(__file__).resolve().parents[2])]

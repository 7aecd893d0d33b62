"""The folder ``scripts`` under the name that a wheel gives it, for an editable install, which copies nothing."""

from pathlib import Path

import shards.cli.installed  # noqa: F401, first of all

__path__ = [str(Path(__file__).resolve().parents[2])]

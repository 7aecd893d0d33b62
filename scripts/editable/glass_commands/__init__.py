"""Makes the folder ``scripts`` importable as ``glass_commands``, its name in a wheel. An editable install, which does
not copy files, needs this.
"""

from pathlib import Path

import shards.cli.installed  # noqa: F401, first of all

__path__ = [str(Path(__file__).resolve().parents[2])]

"""Commands, run as ``python -m scripts.NAME``."""

import shards.cli.installed  # noqa: F401, first of all

"""Commands, run as ``python -m scripts.NAME``."""

import shards.installed  # noqa: F401, first of all

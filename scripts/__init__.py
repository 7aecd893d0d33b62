"""Commands, run as ``glass NAME`` or ``python -m scripts.NAME``.

A wheel installs this folder as ``glass_commands``, because ``scripts`` is too common a name. So its modules import each
other relatively, and other packages do not import them.
"""

import shards.cli.installed  # noqa: F401, first of all

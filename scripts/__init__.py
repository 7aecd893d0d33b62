"""Commands, run as ``glass NAME`` or ``python -m scripts.NAME``.

A wheel holds this folder as ``glass_commands``: ``scripts`` is the name of half the world's folders. So its modules
import each other by relative names, and nothing else imports them.
"""

import shards.cli.installed  # noqa: F401, first of all

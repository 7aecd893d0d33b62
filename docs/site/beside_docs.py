"""An MkDocs hook that adds README, CHANGELOG and the findings to the site.

MkDocs finds only pages in docs/. These files are outside docs/, because GitHub expects them there. The hook adds them
as pages, and rewrites the links between them and the pages in docs/.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

BESIDE = ("README.md", "CHANGELOG.md", "findings/README.md", "Dockerfile")
"""Files outside docs/ that become pages. On the site, each has the same path as in the repository. Every other page is
``docs/PATH`` in the repository and ``PATH`` on the site."""
LINK = re.compile(r'(?<=\]\()[^)#:\s]+|(?<=src=")[^":]+')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for path in BESIDE:
        files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    here = page.file.src_uri
    folder = posixpath.dirname(here if here in BESIDE else f"docs/{here}")

    def in_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[0]))
        target = target if target in BESIDE else target.removeprefix("docs/")
        known = files.get_file_from_path(target)
        return posixpath.relpath(target, posixpath.dirname(here) or ".") if known else link[0]

    return LINK.sub(in_site, markdown)

"""docs/ as a site: it is built without a network, every link leads somewhere, and it loads nothing from other hosts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.project.site_pages import STRUCTURE, SitePage, structure_by_commonmark

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("README.md", "CHANGELOG.md", "findings/README.md")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
BUILDS_OFFLINE = """
import runpy, sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the build asks the network: {args}")

sys.addaudithook(refuse)
sys.argv = ["mkdocs", "build", "--strict", "--site-dir", sys.argv[1]]
runpy.run_module("mkdocs", run_name="__main__")
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra [dev-slow] is not installed")
    out = tmp_path_factory.mktemp("site") / "built"
    done = subprocess.run([sys.executable, "-c", BUILDS_OFFLINE, out], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, SitePage]:
    return {str(path.relative_to(site)): SitePage(path) for path in sorted(site.rglob("*.html"))}


def built_name(source: str) -> str:
    """Returns the name of the built page for a Markdown file; ``README.md`` becomes the index of its folder."""
    return re.sub(r"\.md$", ".html", source.replace("README.md", "index.md"))


def test_every_page_is_on_the_site_and_in_its_menu(pages: dict[str, SitePage]) -> None:
    sources = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    wanted = {built_name(source) for source in (*sources, *BESIDE)}
    assert wanted == pages.keys() - {"404.html"}
    menu = {target for target in pages["index.html"].links if target.endswith(".html")}
    assert wanted - menu == set()


def test_every_link_leads_somewhere(site: Path, pages: dict[str, SitePage]) -> None:
    """Links in raw HTML and anchors are checked, too. Links lead to files, so that the pages work without a web
    server."""
    for name, page in pages.items():
        if name == "404.html":  # served by a web server, with links from its root
            continue
        for target in (*page.links, *page.loaded):
            address, anchor = urldefrag(target)
            if address.startswith(("https:", "http:", "mailto:")):
                continue
            led_to = (page.path.parent / unquote(address)).resolve() if address else page.path
            assert led_to.is_file(), (name, target)
            known = pages.get(str(led_to.relative_to(site.resolve()))) if led_to != page.path else page
            assert not anchor or known is None or unquote(anchor) in known.anchors, (name, target)


def test_nothing_comes_from_elsewhere(site: Path, pages: dict[str, SitePage]) -> None:
    """No page loads a font, script, style or picture from another host."""
    for name, page in pages.items():
        assert [address for address in page.loaded if re.match(r"(\w+:)?//", address)] == [], name
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"';]*", text) == [], style
    fetching = r"(?:fetch|importScripts|import|open)\(\s*[\"'](?:https?:)?//"
    assert [path for path in site.rglob("*.js") if re.search(fetching, path.read_text(encoding="utf-8"))] == []


def test_pages_read_as_on_github(pages: dict[str, SitePage]) -> None:
    """MkDocs and GitHub use different dialects of Markdown. Both must give each page the same lists, tables and blocks.
    The log is exempt, because nobody edits it."""
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} | set(BESIDE)
    for source in sorted(sources - {"docs/LOG.md"}):
        page = pages[built_name(source.removeprefix("docs/"))]
        raw = re.sub(r"```.*?```", "", (ROOT / source).read_text(encoding="utf-8"), flags=re.DOTALL)
        in_html = {tag: len(re.findall(rf"<{tag}[ >]", re.sub(r"`[^`]*`", "", raw))) for tag in STRUCTURE}
        github = structure_by_commonmark(ROOT / source)
        here = {tag: page.structure[tag] - in_html[tag] for tag in STRUCTURE}
        assert here == {tag: github[tag] for tag in STRUCTURE}, source


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_menu_of_colours_works(site: Path, tmp_path: Path) -> None:
    """The colour menu switches between dark and light. The site has a workaround for the theme's script, which fails if
    the theme's highlighter is off."""
    page = site / "colours.html"
    for mode in ("dark", "light"):
        press = f"<script>document.querySelector('[data-bs-theme-value={mode}]').click()</script></body>"
        page.write_text((site / "index.html").read_text(encoding="utf-8").replace("</body>", press), encoding="utf-8")
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
        done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True)
        assert f'data-bs-theme="{mode}"' in done.stdout
    page.unlink()

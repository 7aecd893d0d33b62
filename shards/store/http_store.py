"""Reads files on a web server as :class:`shards.store.fsspec_store.FsspecStore` does, but trusts no response.

For ``http://``, fsspec's own calls read everything that a server sends into memory, for up to five minutes. They treat
every server error as a missing file. So this module makes the requests itself, using fsspec's session and event loop.
The body of a response is read in pieces. Each piece must arrive within the time limit, and at most the requested length
is read.
"""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

from shards.cli.wording import counted
from shards.files.file_names import is_file_name
from shards.files.limits import limit
from shards.store.fsspec_store import PIECE_BYTES, FsspecStore, Grow, ShortAnswer, StoredFile, TooLong, require_length

__all__ = ["HttpStore"]

_LINK = re.compile(r"""<a\s[^>]{0,200}?href=["']([^"']{1,2000})""", re.IGNORECASE)
_MAX_PAGE_BYTES = 64 << 20
"""Maximum size in bytes of a web page that lists a folder. It is enough for several hundred thousand files."""

_MAX_DEPTH, _MAX_FOLDERS = 64, 100_000
"""Maximum depth, and maximum number, of the folders that a listing visits."""

_IS_LENGTH = re.compile(r"[0-9]{1,18}")
"""Matches a usable ``Content-Length``. A number with more digits is ignored, because no disk could hold such a file."""

_NO_HEAD = (403, 405, 501)
"""Status codes with which some servers (such as minimal ones, or those behind signed links) reject HEAD requests
although they serve the files."""


class HttpStore(FsspecStore):
    """Files under an ``http://`` or ``https://`` URL."""

    def path(self, name: str) -> str:
        return super().path(quote(name))

    def has_ranges(self, path: str) -> bool:
        async def probe() -> bool:
            async with self._answer("GET", path, (0, 1)) as answer:
                return bool(answer.status == 206)  # the body is not read

        return self._wait_for(probe())

    def read(self, path: str, most: int) -> bytes:
        return self._wait_for(self._body(path, None, most))

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        return self._wait_for(self._body(path, (start, stop), stop - start))

    def save(self, path: str, to: Path, most: int, grow: Grow) -> None:
        async def copy() -> None:
            with to.open("r+b" if to.exists() else "wb") as file:
                async with self._answer("GET", path) as answer:
                    async for piece in self._pieces(answer, most):
                        await asyncio.to_thread(grow, file.tell() + len(piece))  # it may block
                        file.write(piece)
                file.truncate()

        self._wait_for(copy())

    def stat(self, path: str) -> StoredFile:
        async def ask() -> StoredFile:
            async with self._answer("HEAD", path, final=_NO_HEAD) as answer:
                if answer.status not in _NO_HEAD:
                    return _described(answer.headers)
            async with self._answer("GET", path) as answer:
                return _described(answer.headers)

        return self._wait_for(ask())

    def _tree(self, path: str) -> dict[str, StoredFile]:
        """Lists all files below a folder by following links from page to page, depth first.

        If pages link to each other endlessly, this order soon exceeds the maximum depth, which raises ``TooLong``.
        """
        found: dict[str, StoredFile] = {}
        top = path.rstrip("/") + "/"
        left, seen = [top], set[str]()
        while left:
            folder = left.pop()
            if folder in seen:
                continue
            seen.add(folder)
            if folder.count("/") - top.count("/") > _MAX_DEPTH or len(seen) > _MAX_FOLDERS:
                raise TooLong(
                    f"folders more than {_MAX_DEPTH} levels deep, or more than {counted(_MAX_FOLDERS, 'folder')}: its "
                    "pages may link to each other"
                )
            for name, is_folder in self.children(folder):
                if is_folder:
                    left.append(f"{folder}{quote(name)}/")
                else:
                    found[f"{folder}{quote(name)}"] = StoredFile(None, "")
            if len(found) > (most := limit("MAX_LIST_ROWS")):
                raise TooLong(f"more than GLASS_MAX_LIST_ROWS={most} files")
        return found

    def _named(self, path: str) -> str:
        return unquote(path)

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        """Lists the entries directly in a folder by the links on its page. Links that lead elsewhere are ignored."""
        folder = path.rstrip("/") + "/"
        page = self._wait_for(self._body(folder, None, _MAX_PAGE_BYTES)).decode(errors="replace")
        links = (urljoin(folder, html.unescape(link)) for link in _LINK.findall(page))
        names = {link[len(folder) :] for link in links if link.startswith(folder)}
        inside = (
            (unquote(name.removesuffix("/")), name.endswith("/")) for name in sorted(names) if not set("?#") & set(name)
        )
        # Check the decoded name: an encoded slash leads out of the folder too.
        return [(name, is_folder) for name, is_folder in inside if is_file_name(name)]

    async def _body(self, path: str, bounds: tuple[int, int] | None, most: int) -> bytes:
        async with self._answer("GET", path, bounds) as answer:
            if bounds is not None and answer.status != 206:
                raise ShortAnswer("the whole file instead of a part of it")
            return b"".join([piece async for piece in self._pieces(answer, most)])

    async def _pieces(self, answer: Any, most: int) -> AsyncIterator[bytes]:
        """Yields the body of a response in pieces. Raises ``TooLong`` if it has more than ``most`` bytes.

        If the server states a length above ``most``, the body is not read at all. If it states no length, reading stops
        soon after ``most`` bytes.
        """
        require_length(_described(answer.headers).size, most)
        total = 0
        while True:
            parts, size = [], 0
            async with asyncio.timeout(self.settings.timeout_s):
                while size < PIECE_BYTES and (part := await answer.content.read(1 << 20)):
                    parts.append(part)
                    size += len(part)
                    if total + size > most:
                        raise TooLong(f"more than {most:,} bytes")
            if not size:
                return
            total += size
            yield b"".join(parts)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, bounds: tuple[int, int] | None = None, final: tuple[int, ...] = ()
    ) -> AsyncIterator[Any]:
        """Context manager: sends a request and yields the response before its body is read.

        ``bounds`` are the start and the exclusive end of the byte range to request. Error statuses raise an exception,
        except for those in ``final``.
        """
        from aiohttp import ClientTimeout

        headers = {"Accept-Encoding": "identity"}  # lengths must be those of the files
        if bounds is not None:
            headers["Range"] = f"bytes={bounds[0]}-{bounds[1] - 1}"
        seconds = self.settings.timeout_s
        limits = ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        session = await self.system.set_session()
        request = session.request(
            method, self.system.encode_url(path), headers=headers, timeout=limits, allow_redirects=True
        )
        async with request as answer:
            if answer.status == 404:
                raise FileNotFoundError(path)
            if answer.status not in final:
                answer.raise_for_status()
            yield answer


def _described(headers: Any) -> StoredFile:
    length = headers.get("Content-Length", "")
    token = headers.get("ETag") or headers.get("Last-Modified") or ""
    return StoredFile(int(length) if _IS_LENGTH.fullmatch(length) else None, token)

"""The web page: one document for every room, and its hashed assets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from aiohttp import web

from mulisa.core.room import parse_room_name
from mulisa.server.responses import error_response

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_UNCHANGING: Final = "public, max-age=31536000, immutable"
_CHECK_FIRST: Final = "no-cache"
NOT_BUILT: Final = (
    "the web page is not built: run `make run` in the clone, or install Mulisa from a wheel"
)


class Page:
    """Serves the folder that the build of ``web/`` wrote: index.html, assets/, icons beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_built(self) -> bool:
        """True if the page can be served."""
        return (self._folder / "index.html").is_file()

    def routes(self) -> list[web.RouteDef]:
        """The page's addresses; the last one takes any file name, so mount it last."""
        return [
            web.get("/", self._document),
            web.get("/r/{room}", self._room),
            web.get("/assets/{name}", self._asset),
            web.get("/{name}", self._file),
        ]

    async def _room(self, request: web.Request) -> web.StreamResponse:
        parse_room_name(request.match_info["room"])
        return await self._document(request)

    async def _document(self, _: web.Request) -> web.StreamResponse:
        if not self.is_built:
            return error_response(503, NOT_BUILT)
        return _file_response(self._folder / "index.html", _CHECK_FIRST)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        return self._serve(self._folder / "assets", request.match_info["name"], _UNCHANGING)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._serve(self._folder, request.match_info["name"], _CHECK_FIRST)

    def _serve(self, folder: Path, name: str, caching: str) -> web.StreamResponse:
        path = folder / name
        if not _FILE_NAME.fullmatch(name) or not path.is_file():
            raise web.HTTPNotFound
        return _file_response(path, caching)


def _file_response(path: Path, caching: str) -> web.FileResponse:
    return web.FileResponse(path, headers={"Cache-Control": caching})

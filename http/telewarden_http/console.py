"""The console: a page for operators, and the files it is made of. It holds nothing of its own; all that it shows it
asks for with the key that the operator pastes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

from quart import Response, request

from telewarden_http.errors import ApiError
from telewarden_http.routing import Operation, Route

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy of the page: nothing from elsewhere, nothing inline, no text that becomes a script."""

PAGE_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept by the browser and asked about each time, so that a new version is there at once.
    "Cache-Control": "no-cache",
}

_FOLDER: Final = "console"
_PAGE: Final = "index.html"
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class AssetNotFound(ApiError):
    """The page has no such file (404)."""

    status = 404

    def __init__(self) -> None:
        super().__init__("The page has no such file")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served. etag: of these very bytes, in quotes."""

    body: bytes
    kind: str
    etag: str


def read_assets(folder: str = _FOLDER) -> dict[str, Asset]:
    """A page's files by name, from a folder of the installed package. What is not here is not served."""
    found = {}
    for file in (resources.files("telewarden_http") / folder).iterdir():
        kind = _KINDS.get(PurePosixPath(file.name).suffix)
        if kind is not None and file.is_file():
            body = file.read_bytes()
            found[file.name] = Asset(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


class ConsoleRoutes:
    """The handlers of /console and what is below it. They need no key."""

    def __init__(self) -> None:
        self._assets = read_assets()

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/console",
                self.page,
                None,
                Operation("The console", answers={200: "A page", 304: "Unchanged"}, media="text/html"),
            ),
            Route(
                "GET",
                "/console/",
                self.moved,
                None,
                Operation("The console", answers={308: "It is at /console"}),
            ),
            Route(
                "GET",
                "/console/<name>",
                self.asset,
                None,
                Operation("A file of the console", answers={200: "The file", 304: "Unchanged"}, media="*/*"),
            ),
        )

    async def page(self) -> Response:
        """`GET /console`: the page."""
        return self._served(_PAGE)

    async def moved(self) -> Response:
        """`GET /console/`: the page's addresses are relative, so that it works below a proxy's prefix too."""
        return Response(status=308, headers=PAGE_HEADERS | {"Location": "../console"})

    async def asset(self, name: str) -> Response:
        """`GET /console/{name}`: a file of the page."""
        return self._served(name)

    def _served(self, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise AssetNotFound
        headers = PAGE_HEADERS | {"ETag": asset.etag}
        if request.if_none_match.contains_weak(asset.etag.strip('"')):
            return Response(status=304, headers=headers)
        return Response(asset.body, headers=headers, content_type=asset.kind)

"""The OpenAPI document, and a page that shows it to people. Both need no key, and nothing from elsewhere."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from quart import Response, request

from telewarden_http.console import PAGE_HEADERS, Asset, AssetNotFound, read_assets
from telewarden_http.openapi import encoded
from telewarden_http.routing import Operation, Route

_FOLDER: Final = "reference"
_PAGE: Final = "index.html"
_DOCUMENT_HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


class ReferenceRoutes:
    """The handlers. `describe` has to be called before the first request."""

    def __init__(self) -> None:
        self._assets = read_assets(_FOLDER)
        self._document: Asset | None = None

    def describe(self, routes: Iterable[Route]) -> bytes:
        """Make the document of these routes, once; gives it as it is served."""
        body = encoded(routes)
        tag = hashlib.sha256(body).hexdigest()[:32]
        self._document = Asset(body, "application/json", f'"{tag}"')
        return body

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/openapi.json",
                self.document,
                None,
                Operation(
                    "This document",
                    answers={200: "OpenAPI 3.1", 304: "Unchanged"},
                    media="application/json",
                ),
            ),
            Route(
                "GET",
                "/docs",
                self.page,
                None,
                Operation(
                    "This document for people", answers={200: "A page", 304: "Unchanged"}, media="text/html"
                ),
            ),
            Route(
                "GET",
                "/docs/",
                self.moved,
                None,
                Operation("This document for people", answers={308: "It is at /docs"}),
            ),
            Route(
                "GET",
                "/docs/<name>",
                self.asset,
                None,
                Operation("A file of that page", answers={200: "The file", 304: "Unchanged"}, media="*/*"),
            ),
        )

    async def document(self) -> Response:
        """`GET /openapi.json`"""
        if self._document is None:
            raise AssetNotFound
        return _served(self._document, _DOCUMENT_HEADERS)

    async def page(self) -> Response:
        """`GET /docs`"""
        return _served(self._assets[_PAGE], PAGE_HEADERS)

    async def moved(self) -> Response:
        """`GET /docs/`: the page's addresses are relative, so that it works below a proxy's prefix too."""
        return Response(status=308, headers=PAGE_HEADERS | {"Location": "../docs"})

    async def asset(self, name: str) -> Response:
        """`GET /docs/{name}`: a file of the page."""
        asset = self._assets.get(name)
        if asset is None:
            raise AssetNotFound
        return _served(asset, PAGE_HEADERS)


def _served(asset: Asset, headers: dict[str, str]) -> Response:
    headers = headers | {"ETag": asset.etag}
    if request.if_none_match.contains_weak(asset.etag.strip('"')):
        return Response(status=304, headers=headers)
    return Response(asset.body, headers=headers, content_type=asset.kind)

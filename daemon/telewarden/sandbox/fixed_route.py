"""The floor of the API's figures: a Quart route that returns a fixed body, served by the same server.

`python -m telewarden.sandbox.fixed_route PORT BYTES [BYTES …]`: `/N` returns the N-th body. Ends with its input.
"""

import sys
from functools import partial

import anyio
from quart import Quart, Response

from telewarden_http.server import serve


def make_app(sizes: list[int]) -> Quart:
    """Nothing but the routes: no keys, no limits beyond the framework's, no metrics."""
    app = Quart("fixed_route", static_folder=None)

    async def fixed(body: bytes) -> Response:
        return Response(body, content_type="application/json")

    for number, size in enumerate(sizes):
        view = partial(fixed, b"x" * size)
        app.add_url_rule(f"/{number}", endpoint=str(number), view_func=view, methods=["GET", "POST"])
    return app


async def _run(port: int, sizes: list[int]) -> None:
    async def ended() -> None:
        await anyio.wait_readable(sys.stdin)

    await serve(make_app(sizes), host="127.0.0.1", port=port, shutdown=ended)


if __name__ == "__main__":
    port, *sizes = map(int, sys.argv[1:])
    anyio.run(_run, port, sizes, backend_options={"use_uvloop": True})

"""The API worker: serves the polling API until it is cancelled."""

import socket
from collections.abc import Callable

import anyio
import structlog
from quart import Quart

from telewarden_http.server import connected, serve
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_ANSWER_S = 5.0
_LOOK = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class ApiWorker:
    """Serves one app, and asks it itself whether it answers.

    port: 0 takes a free one; on_bound is told the real one. listener: where several processes share one, instead.
    own_port: of 127.0.0.1, besides.
    """

    def __init__(
        self,
        app: Quart,
        *,
        host: str,
        port: int,
        on_bound: Callable[[int], object] = lambda port: None,
        listener: socket.socket | None = None,
        own_port: int | None = None,
    ) -> None:
        self._app = app
        self._own_port = own_port
        self._listener = listener
        self._host, self._port = host, port
        self._on_bound = on_bound

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled; running requests may finish."""
        bound_port = 0

        def bound(port: int) -> None:
            nonlocal bound_port
            bound_port = port
            ctx.status(f"listening on {self._host}:{port}")
            ctx.ready()
            self._on_bound(port)

        async def look() -> None:
            address = _own_address(self._host)
            while True:
                if await _answers(address, bound_port, None if self._listener is None else self._app):
                    ctx.beat()
                await anyio.sleep(_LOOK_S)

        await serve(
            self._app,
            host=self._host,
            port=self._port,
            shutdown=look,
            on_bound=bound,
            graceful_timeout_s=2.0,
            listener=self._listener,
            own_port=self._own_port,
        )


def _own_address(host: str) -> str:
    """Where this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104


async def _answers(address: str, port: int, app: Quart | None) -> bool:
    """A request of our own is answered, with whatever: that the stores are well is not asked here.

    A full house turns connections away, which is an answer too. app: asked directly, since on a shared port another
    process may answer; None: by the port.
    """
    with anyio.move_on_after(_ANSWER_S):
        try:
            async with connected(app) if app else await anyio.connect_tcp(address, port) as stream:
                await stream.send(_LOOK)
                await stream.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass
        except OSError as error:
            log.warning("api_not_reached", address=address, port=port, error=str(error))
            return False
        return True
    log.warning("api_not_reached", address=address, port=port, error=f"no answer in {_ANSWER_S:g} s")
    return False

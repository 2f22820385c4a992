"""The API worker: serves the polling API until it is cancelled."""

from collections.abc import Callable

import anyio
from quart import Quart

from telewarden_http.server import serve
from telewarden_supervisors import WorkerContext


class ApiWorker:
    """Serves one app. port: 0 takes a free one; on_bound is told the real one."""

    def __init__(
        self,
        app: Quart,
        *,
        host: str,
        port: int,
        on_bound: Callable[[int], object] = lambda port: None,
    ) -> None:
        self._app = app
        self._host, self._port = host, port
        self._on_bound = on_bound

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled; running requests may finish."""

        def bound(port: int) -> None:
            ctx.status(f"listening on {self._host}:{port}")
            ctx.ready()
            self._on_bound(port)

        await serve(
            self._app,
            host=self._host,
            port=self._port,
            shutdown=anyio.sleep_forever,
            on_bound=bound,
            graceful_timeout_s=2.0,
        )

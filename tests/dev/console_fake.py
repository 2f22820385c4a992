"""The console on made-up figures, for work on its looks: `PYTHONPATH=tests .venv/bin/python -m dev.console_fake`.

Open the address that it prints, with the key `fake-admin-key`. --scene trouble: the database is down and a worker backs
off; --scene empty: nothing is set up yet; --scene serving: a process that only serves. Ends with Ctrl+C.
"""

import argparse
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import msgspec
from quart import Quart, Response, request

from dev.console_scenes import SCENES, World, iso
from telewarden_http.auth import Keyring, Scope
from telewarden_http.console import ConsoleRoutes
from telewarden_http.errors import ApiError
from telewarden_http.gate import Gate
from telewarden_http.responses import encode, failure, json_response
from telewarden_http.routing import Route, register
from telewarden_http.server import serve
from telewarden_http.settings import ApiSettings

KEY: Final = "fake-admin-key"


class Fake:
    """The routes of the administration that the console uses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: list[dict[str, Any]] = []

    def routes(self) -> tuple[Route, ...]:
        """All of them."""
        return (
            Route("GET", "/v1/admin/overview/stream", self.stream, Scope.ADMIN),
            Route("POST", "/v1/admin/workers/<name>/restart", self.restart, Scope.ADMIN),
            Route("PATCH", "/v1/admin/channels/<channel>", self.change, Scope.ADMIN),
            Route("GET", "/v1/admin/jobs", self.jobs, Scope.ADMIN),
            Route("POST", "/v1/admin/jobs", self.submit, Scope.ADMIN),
            Route("GET", "/v1/admin/jobs/<id>", self.job, Scope.ADMIN),
        )

    async def stream(self) -> Response:
        """One look a second."""

        async def frames() -> AsyncGenerator[bytes, None]:
            while True:
                yield b"event: overview\ndata: " + msgspec.json.encode(self._world.look()) + b"\n\n"
                await anyio.sleep(1)

        response = Response(frames(), content_type="text/event-stream; charset=utf-8")
        response.timeout = None
        return response

    async def restart(self, name: str) -> Response:
        """Takes half a second."""
        await anyio.sleep(0.5)
        self._world.restarted[name] = datetime.now(UTC)
        return json_response(encode({"worker": name, "readyAfterS": 0.31}))

    async def change(self, channel: str) -> Response:
        """Pauses or resumes."""
        if (await request.get_json())["active"]:
            self._world.paused.discard(channel)
        else:
            self._world.paused.add(channel)
        return json_response(b"{}")

    async def jobs(self) -> Response:
        """All there were."""
        return json_response(encode({"jobs": self._jobs[::-1]}))

    async def submit(self) -> Response:
        """One that takes five looks."""
        kind = (await request.get_json())["kind"]
        at = iso(datetime.now(UTC))
        job = {
            "id": f"j{len(self._jobs)}",
            "kind": kind,
            "state": "queued",
            "by": "operator",
            "createdAt": at,
        }
        self._jobs.append({**job, "startedAt": None, "progress": None, "result": None, "error": None})
        return json_response(encode(self._jobs[-1]), 202)

    async def job(self, id: str) -> Response:
        """A fifth further than at the last look."""
        job = next(job for job in self._jobs if job["id"] == id)
        done = (job["progress"] or {"done": 0})["done"] + 2_400
        job |= {"state": "running", "startedAt": iso(datetime.now(UTC))}
        job["progress"] = {"done": done, "total": 12_000, "text": "messages written"}
        if done >= 12_000:
            result = {"kind": "warm", "written": 12_000, "tookS": 3.5}
            if job["kind"] == "sync":
                result = {"kind": "sync", "read": 3000, "saved": 2, "channels": [{}] * 6}
            job |= {"state": "done", "result": result}
        return json_response(encode(job))


async def run(port: int, world: World) -> None:
    """Serve until the process is ended."""
    settings = ApiSettings(gateway_tokens={"operator": KEY}, api_keys={"consumer": "fake-consumer-key"})
    app, gate = Quart("console_fake", static_folder=None), Gate(Keyring(settings), settings)
    for route in (*ConsoleRoutes().routes(), *Fake(world).routes()):
        register(app, route, gate, {})

    @app.errorhandler(ApiError)
    async def refused(error: ApiError) -> Response:
        return failure(error.status, str(error))

    def tell(bound: int) -> None:
        print(f"http://127.0.0.1:{bound}/console", flush=True)

    await serve(app, host="127.0.0.1", port=port, shutdown=anyio.sleep_forever, on_bound=tell)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The console on made-up figures.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scene", choices=SCENES, default="calm")
    options = parser.parse_args()
    anyio.run(run, options.port, World(options.scene))


if __name__ == "__main__":
    main()

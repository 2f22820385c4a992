"""The operator's UNIX socket: the supervision tree is looked at, and a worker restarted, by its owner alone.

One JSON object a line: a Request in, an Answer out, as often as the client likes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anyio
import msgspec
import structlog
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from telewarden.settings import Settings
from telewarden_supervisors import ChildNotFound, Snapshot, SupervisionError, Supervisor, WorkerContext

log = structlog.get_logger(__name__)

NAME = "control"
"""This worker's name in the tree."""
LINE_BYTES = 64 * 1024
"""No request or answer is longer."""
RESTART_S = 30.0
"""Seconds that a restarted worker may take to be ready."""

_PATH_BYTES = 107  # struct sockaddr_un, unix(7)
_CLIENTS = 16
_SILENT_S = 5.0
_RETRY_S = 5.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for. worker: which one to restart."""

    command: Literal["ps", "restart"]
    worker: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """ok: whether it was done; text: what was, or why not; tree: the answer to "ps"."""

    ok: bool
    text: str = ""
    tree: Snapshot | None = None


def socket_path(settings: Settings) -> Path:
    """Where the daemon with these settings listens."""
    return settings.state_dir / "control.sock"


def path_problem(path: Path) -> str | None:
    """Why no UNIX socket can have this path; None if it can."""
    length = len(os.fsencode(path))
    if length <= _PATH_BYTES:
        return None
    return (
        f"{path} is {length} bytes long, and the path of a UNIX socket at most {_PATH_BYTES}: "
        "choose a shorter state_dir"
    )


class ControlServer:
    """Serves the socket. supervisor: gives the tree, which exists only after its workers were made.

    A socket that cannot be had costs the operator's commands and nothing else: it is tried again, not failed.
    """

    def __init__(self, path: Path, supervisor: Callable[[], Supervisor]) -> None:
        self._path, self._supervisor = path, supervisor
        self._clients = 0

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        told = None
        while True:
            problem = path_problem(self._path)
            if problem is None:
                try:
                    await self._serve(ctx)
                except OSError as error:
                    problem = f"cannot listen on {self._path}: {error.strerror or error}"
            if problem != told:
                log.error(
                    "no_control_socket", problem=problem, effect="`telewarden ps` and `restart` do not work"
                )
            told = problem
            ctx.status(problem or "")
            await anyio.sleep(_RETRY_S)

    async def _serve(self, ctx: WorkerContext) -> None:
        if await _is_served(self._path):
            raise OSError("another daemon listens there")
        # A socket that a killed process left is replaced; the mode is set before it listens.
        async with await anyio.create_unix_listener(self._path, mode=0o600) as listener:
            try:
                ctx.status(f"listening on {self._path}")
                await listener.serve(self._answer_client)
            finally:
                self._path.unlink(missing_ok=True)

    async def _answer_client(self, stream: SocketStream) -> None:
        async with stream:
            self._clients += 1
            try:
                if self._clients > _CLIENTS:
                    await _send(stream, Answer(False, f"{_CLIENTS} others are being served; try again"))
                    return
                await self._answer_lines(stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                # It went away, or neither spoke nor listened.
                pass
            except Exception as error:
                # One client's trouble is never another's.
                log.exception("control_request_failed", error=str(error))
            finally:
                self._clients -= 1

    async def _answer_lines(self, stream: SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        while True:
            try:
                with anyio.fail_after(_SILENT_S):
                    line = await lines.receive_until(b"\n", LINE_BYTES)
            except anyio.DelimiterNotFound:
                await _send(stream, Answer(False, f"a request is one line of at most {LINE_BYTES} bytes"))
                return
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            try:
                request = msgspec.json.decode(line, type=Request)
            except (msgspec.DecodeError, RecursionError) as error:
                await _send(stream, Answer(False, f"that is no request: {error}"))
                return
            await _send(stream, await self._answer(request))

    async def _answer(self, request: Request) -> Answer:
        if request.command == "ps":
            return Answer(True, tree=self._supervisor().snapshot())
        return await self._restart(request.worker)

    async def _restart(self, worker: str) -> Answer:
        supervisor = self._supervisor()
        names = [child.name for child in supervisor.snapshot().children]
        if worker not in names:
            return Answer(False, f"there is no worker {worker!r}; there are {', '.join(names)}")
        if worker == NAME:
            return Answer(False, f"{NAME} answers this request and cannot be restarted by it")
        log.info("restart_asked_for", worker=worker)
        began_s = anyio.current_time()
        try:
            with anyio.fail_after(RESTART_S):
                await supervisor.restart_child(worker)
        except TimeoutError:
            return Answer(False, f"{worker} was restarted, and was not ready within {RESTART_S:g} s")
        except ChildNotFound as error:
            return Answer(False, str(error))
        except SupervisionError as error:
            return Answer(False, f"{worker} was not restarted: {error}")
        return Answer(True, f"{worker} is ready again, after {anyio.current_time() - began_s:.2f} s")


async def _is_served(path: Path) -> bool:
    try:
        with anyio.fail_after(1.0):
            stream = await anyio.connect_unix(path)
    except OSError:
        return False
    await stream.aclose()
    return True


async def _send(stream: SocketStream, answer: Answer) -> None:
    line = msgspec.json.encode(answer) + b"\n"
    if len(line) > LINE_BYTES:
        line = msgspec.json.encode(Answer(False, "the answer would be too long")) + b"\n"
    with anyio.fail_after(_SILENT_S):
        await stream.send(line)

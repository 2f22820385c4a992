"""The operator's UNIX socket: the supervision tree is looked at, and a worker restarted, by its owner alone.

One JSON object a line: a Request in, an Answer out, as often as the client likes.
"""

import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import anyio
import msgspec
import structlog
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from telewarden.backfill import Backfiller
from telewarden.cache_admin import CacheAdmin
from telewarden.channel_admin import ChannelAdmin
from telewarden.control_cache import CacheAnswer, CacheRequest, answer_cache
from telewarden.control_channels import ChannelAnswer, ChannelRequest, answer_channels
from telewarden.fault_injection import FaultKind, WorkerFaults
from telewarden.restarting import NoSuchWorker, NotReadyInTime, NotRestarted, restart_worker
from telewarden.settings import Settings
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.journal_file import JournalError
from telewarden.storage.poison import NoSuchPoison, PoisonRow, PoisonShelf
from telewarden.telegram.feed import ChannelClosed, Flooded, SessionUnusable, TelegramUnavailable
from telewarden.verify import CannotLook, Difference, Verifier
from telewarden_supervisors import Snapshot, Supervisor, WorkerContext, leaves

log = structlog.get_logger(__name__)

NAME = "control"
"""This worker's name in the tree."""
LINE_BYTES = 64 * 1024
"""No request or answer is longer."""

_PATH_BYTES = 107  # struct sockaddr_un, unix(7)
_CLIENTS = 16
_SILENT_S = 5.0
_RETRY_S = 5.0
_LOOK_S = 1.0
_DIFFERENCES_A_LINE = 200


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for. worker: which one to restart; for tests, to break, and how: kind.

    channels, since_s, repair: see `Verifier.verify`. about: what is wanted of channels. poison, ids: what to do to
    which of the events that the database refused. cache: what is wanted of the cache.
    """

    command: Literal["ps", "restart", "fault", "verify", "channels", "poison", "cache"]
    worker: str = ""
    kind: FaultKind | None = None
    channels: tuple[int, ...] = ()
    since_s: float = 0.0
    repair: bool = False
    about: ChannelRequest | None = None
    poison: Literal["list", "retry", "drop"] | None = None
    ids: tuple[str, ...] = ()
    cache: CacheRequest | None = None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """ok: whether it was done; text: what was, or why not; tree: the answer to "ps". poison, total: events that were
    set aside, as far as they are shown, and how many there are."""

    ok: bool
    text: str = ""
    tree: Snapshot | None = None
    poison: tuple[PoisonRow, ...] = ()
    total: int = 0


class Verified(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the answer to "verify": more come until one is done. error: why it could not look.

    differences: those that are new since the line before.
    """

    compared: int = 0
    repaired: int = 0
    differences: tuple[Difference, ...] = ()
    done: bool = False
    error: str = ""


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

    verifier: compares Telegram with the database. admin, backfiller: act on channels. shelf: events that the database
    refused. cache: acts on the cache; None where none is configured. faults: what breaks workers for tests; None where
    that is not allowed. A socket that cannot be had costs the operator's commands and nothing else: it is tried again,
    not failed.
    """

    def __init__(
        self,
        path: Path,
        supervisor: Callable[[], Supervisor],
        verifier: Verifier,
        admin: ChannelAdmin,
        backfiller: Backfiller,
        shelf: PoisonShelf,
        faults: WorkerFaults | None = None,
        cache: CacheAdmin | None = None,
    ) -> None:
        self._path, self._supervisor = path, supervisor
        self._verifier, self._faults = verifier, faults
        self._admin, self._backfiller, self._shelf = admin, backfiller, shelf
        self._cache = cache
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
                except* OSError as group:
                    causes = ", ".join(str(getattr(e, "strerror", None) or e) for e in leaves(group))
                    problem = f"cannot listen on {self._path}: {causes}"
            if problem != told:
                log.error(
                    "no_control_socket", problem=problem, effect="`telewarden ps` and `restart` do not work"
                )
            told = problem
            ctx.status(problem or "")
            ctx.beat()
            await anyio.sleep(_RETRY_S)

    async def _serve(self, ctx: WorkerContext) -> None:
        if await _is_served(self._path):
            raise OSError("another daemon listens there")
        # A socket that a killed process left is replaced; the mode is set before it listens.
        async with await anyio.create_unix_listener(self._path, mode=0o600) as listener:
            try:
                ctx.status(f"listening on {self._path}")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._look, ctx)
                    await listener.serve(self._answer_client)
            finally:
                self._path.unlink(missing_ok=True)

    async def _look(self, ctx: WorkerContext) -> None:
        """Beats for as long as this socket takes connections."""
        while await _is_served(self._path):
            ctx.beat()
            await anyio.sleep(_LOOK_S)
        raise OSError("it takes no connections")

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
            if request.command == "verify":
                await self._verify(stream, request)
            elif request.command == "channels" and request.about is not None:
                await self._about_channels(stream, request.about)
            elif request.command == "cache" and request.cache is not None:
                await self._about_cache(stream, request.cache)
            else:
                await _send(stream, await self._answer(request))

    async def _verify(self, stream: SocketStream, request: Request) -> None:
        """Answer line by line; who hangs up ends it."""
        told = 0
        try:
            found = self._verifier.verify(request.channels, since_s=request.since_s, repair=request.repair)
            async with aclosing(found) as reports:
                async for report in reports:
                    for first in range(told, max(told + 1, len(report.differences)), _DIFFERENCES_A_LINE):
                        new = report.differences[first : first + _DIFFERENCES_A_LINE]
                        await _send(stream, Verified(report.compared, report.repaired, new))
                    told = len(report.differences)
        except (CannotLook, DatabaseUnavailable, TelegramUnavailable, SessionUnusable) as error:
            await _send(stream, Verified(error=str(error), done=True))
        except Flooded as error:
            await _send(stream, Verified(error=f"{error}; try again after that", done=True))
        except (ChannelClosed, JournalError) as error:
            await _send(stream, Verified(error=str(error), done=True))
        else:
            await _send(stream, Verified(done=True))

    async def _about_channels(self, stream: SocketStream, request: ChannelRequest) -> None:
        """Answer line by line; who hangs up ends what was going on."""
        async with aclosing(answer_channels(self._admin, self._backfiller, request)) as answers:
            async for answer in answers:
                await _send(stream, answer)

    async def _about_cache(self, stream: SocketStream, request: CacheRequest) -> None:
        """Answer line by line; who hangs up ends what was going on."""
        async with aclosing(answer_cache(self._cache, request)) as answers:
            async for answer in answers:
                await _send(stream, answer)

    async def _answer(self, request: Request) -> Answer:
        match request.command:
            case "ps":
                return Answer(True, tree=self._supervisor().snapshot())
            case "restart":
                return await self._restart(request.worker)
            case "fault":
                return self._break(request)
            case "poison":
                return await self._poison(request)
            case _:
                return Answer(False, f"{request.command} says nothing of what is wanted")

    async def _restart(self, worker: str) -> Answer:
        if worker == NAME:
            return Answer(False, f"{NAME} answers this request and cannot be restarted by it")
        try:
            took_s = await restart_worker(self._supervisor(), worker)
        except (NoSuchWorker, NotRestarted, NotReadyInTime) as error:
            return Answer(False, str(error))
        return Answer(True, f"{worker} is ready again, after {took_s:.2f} s")

    async def _poison(self, request: Request) -> Answer:
        try:
            match request.poison:
                case "list":
                    rows, total = await self._shelf.rows()
                    return Answer(True, poison=tuple(rows), total=total)
                case "retry":
                    return Answer(True, f"{await self._shelf.retry(request.ids)} events are tried again")
                case "drop":
                    return Answer(True, f"{await self._shelf.drop(request.ids)} events are not tried again")
                case None:
                    return Answer(False, "poison says nothing of what is wanted: list, retry or drop")
        except (NoSuchPoison, DatabaseUnavailable, JournalError) as error:
            return Answer(False, str(error))

    def _break(self, request: Request) -> Answer:
        if self._faults is None or request.kind is None:
            return Answer(False, "that is for tests: it needs testing.worker_faults, and a kind")
        log.warning("fault_injected", worker=request.worker, kind=request.kind.value)
        if not self._faults.inject(request.worker, request.kind):
            return Answer(False, f"{request.worker!r} does not run")
        return Answer(True, f"{request.worker}: {request.kind.value}")


async def _is_served(path: Path) -> bool:
    try:
        with anyio.fail_after(1.0):
            stream = await anyio.connect_unix(path)
    except OSError:
        return False
    await stream.aclose()
    return True


async def _send(stream: SocketStream, answer: Answer | Verified | ChannelAnswer | CacheAnswer) -> None:
    line = msgspec.json.encode(answer) + b"\n"
    if len(line) > LINE_BYTES:
        line = msgspec.json.encode(Answer(False, "the answer would be too long")) + b"\n"
    with anyio.fail_after(_SILENT_S):
        await stream.send(line)

"""The cache's stand-in answers as a real server does: the same random requests to both."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest

from simulation.servers import Server, Times
from telewarden.messages import Acknowledged, Content, Posted, State, merge
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.cache import Cache, HistoryChanged, Operation, Turn, Write, open_cache
from telewarden.storage.render import render

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.suite("simulation")]

CHANNELS = (-1001, -1002)
BOUND = 3
NOW_S = 0.0
"""Nothing expires here; that is left to chance in the schedules."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module: the server lives on it."""
    return "asyncio"


@pytest.fixture(scope="module")
async def cache(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cache]:
    """A real one, on a real server."""
    async with (
        EmbeddedValkey.start(tmp_path_factory.mktemp("servers") / "valkey") as server,
        open_cache(server.url, pending_bound=BOUND, timeout_s=5.0) as cache,
    ):
        yield cache


@pytest.mark.parametrize("number", range(12))
async def test_the_stand_in_answers_as_a_real_server(cache: Cache, number: int, seed: int) -> None:
    rng = random.Random(f"{seed}/{number}")
    history = await cache.connect()
    await cache.ask(lambda client: client.flushall())
    server = Server("A", count(1), Times(bound=BOUND))
    server.master, server.history = True, history
    pair = _Pair(cache, server, history, rng)
    for step in range(120):
        name = rng.choices(list(_REQUESTS), [3, 10, 3, 2, 8, 6, 1, 2, 0.3])[0]
        real, simulated = await _REQUESTS[name](pair)
        assert real == simulated, f"seed {seed}, number {number}, step {step}: {name}"


class _Pair:
    """A real server and its stand-in."""

    def __init__(self, cache: Cache, server: Server, history: str, rng: random.Random) -> None:
        self.cache, self.server, self.history, self.rng = cache, server, history, rng
        self.marks = [self._mark()]

    def _mark(self) -> str:
        return f"{self.history}:{self.rng.getrandbits(32):x}:{self.rng.choice(['plain', 'mixed'])}"

    def _some_mark(self) -> str:
        return self.rng.choice(self.marks[-2:])

    def _channel(self) -> int:
        return self.rng.choice(CHANNELS)

    def _writes(self) -> list[Write]:
        writes = []
        for _ in range(self.rng.randint(1, 4)):
            key = (self._channel(), self.rng.randint(1, 5))
            text = str(self.rng.randint(1, 99))
            post = Posted(*key, Content(text=text, telegram_date_us=1_000_000), 1, key[1] * 1000, True)
            state: State = merge(None, post)
            operation = self.rng.choice([Operation.PEND, *Operation])
            if operation is Operation.DONE:
                state = merge(state, Acknowledged(*key, "archive", 10_000))
            body = b"" if operation is Operation.DONE and self.rng.random() < 0.5 else render(state)
            certain = operation is not Operation.DONE or self.rng.random() < 0.7
            writes.append(Write(operation, state, body, certain=certain))
        return writes

    async def clear(self) -> tuple[object, object]:
        self.marks.append(self._mark())
        channels = CHANNELS if self.rng.random() < 0.9 else CHANNELS[:1]
        return (
            await _held(self.cache.clear(self.marks[-1], channels)),
            self.server.clear(self.marks[-1], channels),
        )

    async def apply(self) -> tuple[object, object]:
        writes, turn = self._writes(), Turn(self._some_mark(), self.rng.randint(1, 200))
        return (
            await _held(self.cache.apply(self.history, writes, turn)),
            self.server.apply(self.history, turn, writes, NOW_S),
        )

    async def tell(self) -> tuple[object, object]:
        writes = self._writes()
        history = self.history if self.rng.random() < 0.8 else "f" * 40
        return (
            await _held(self.cache.apply(history, writes)),
            self.server.apply(history, None, writes, NOW_S),
        )

    async def set_mark(self) -> tuple[object, object]:
        mark = self._some_mark()
        return (
            await _held(self.cache.set_mark(mark, 600_000)),
            self.server.set_mark(mark, 600.0, NOW_S, renew=False),
        )

    async def read(self) -> tuple[object, object]:
        mark, channel, limit = self._some_mark(), self._channel(), self.rng.choice([2, 100])
        listed, ask = self.rng.random() < 0.5, self.rng.sample(range(1, 6), 3)
        return (
            await self.cache.read(mark, channel, limit, listed=listed, ask=ask),
            self.server.read(mark, channel, limit, listed, ask, NOW_S),
        )

    async def read_proven(self) -> tuple[object, object]:
        channel, plain = self._channel(), self.rng.random() < 0.5
        expected = f"{self.history}:*:{'plain' if plain else ''}"
        return (
            await self.cache.read_proven(self.history, channel, 100, needs_plain=plain),
            self.server.read(expected, channel, 100, False, (), NOW_S),
        )

    async def drop(self) -> tuple[object, object]:
        return await self.cache.drop_mark(self.history), self.server.drop_mark(self.history)

    async def seen(self) -> tuple[object, object]:
        channel = self._channel()
        return (
            await self.cache.seen(channel, range(1, 6)),
            self.server.has_seen(channel, range(1, 6), NOW_S),
        )

    async def flush(self) -> tuple[object, object]:
        await self.cache.ask(lambda client: client.flushall())
        self.server.flush()
        return None, None


_REQUESTS: dict[str, Callable[[_Pair], Awaitable[tuple[object, object]]]] = {
    "clear": _Pair.clear,
    "apply": _Pair.apply,
    "tell": _Pair.tell,
    "set mark": _Pair.set_mark,
    "read": _Pair.read,
    "read proven": _Pair.read_proven,
    "drop": _Pair.drop,
    "seen": _Pair.seen,
    "flush": _Pair.flush,
}


async def _held(request: Awaitable[None]) -> bool:
    try:
        await request
    except HistoryChanged:
        return False
    return True

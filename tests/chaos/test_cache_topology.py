"""The whole stack under load while its cache, a master with a replica and three Sentinels, fails in every way.

Whatever happens: nothing is omitted, nothing is served after its acknowledgement, no text goes back, and every poll is
answered in time; the cache answers before and afterwards, and what may not be trusted meanwhile does not answer.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import pytest
import redis.exceptions

from support.debian import cache_program
from support.proxied import ProxiedTopology, proxied_topology
from support.proxy import REFUSED, Line
from support.serving import serving_process
from telewarden.sandbox.consumer import Consumer
from telewarden.sandbox.daemon import DaemonProcess
from telewarden.sandbox.exercise import Exercise, Fault, Result
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack
from telewarden.sandbox.topology import DOWN_AFTER_MS
from telewarden.sandbox.valkey import EmbeddedValkey

LEASE_S = 3.0
"""The default of cache.lease_s."""
_PATIENCE_S = 30.0
_NOTICED_MS = 600.0
"""A poll's time-out and a moment more: from then on a dead server is asked no more."""
_LOOK_S = 0.02
_POLL_INTERVAL_S = 0.04
_BEHIND_S = 5.0
"""How far Telegram's pushes may be behind on a machine that has all this to do."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.chaos,
    pytest.mark.suite("topology"),
    pytest.mark.timeout(180),
]
valkey_alone = pytest.mark.parametrize("cache", ["valkey"], indirect=True, scope="module")
everywhere = pytest.mark.parametrize(
    ("cache", "role"),
    [("valkey", "all"), ("valkey", "api"), ("redis", "all")],
    indirect=["cache"],
    scope="module",
)


@dataclass(frozen=True)
class Load:
    """What consumers do, and how long after it was first served polls may still be without a message. hold_s: how long
    it waits for its acknowledgement, so that polls have something that they could omit; at most 100 then wait."""

    rate: float
    hold_s: float
    omits_s: float


# A process that only serves sees what is accepted once it is in a store, a lease later at most.
LOADS = {
    "all": Load(rate=100, hold_s=1, omits_s=0),
    "api": Load(rate=50, hold_s=LEASE_S + 2, omits_s=LEASE_S + 1),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop a module: the servers live on it."""
    return "asyncio"


@pytest.fixture(scope="module")
async def cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, full: bool
) -> AsyncIterator[ProxiedTopology]:
    """The cache's servers, of one make."""
    if request.param != "valkey" and not full:
        pytest.skip("only at full length")
    program = cache_program(request.param)
    async with proxied_topology(tmp_path_factory.mktemp("cache"), program=program) as found:
        yield found


@pytest.fixture(scope="module")
async def stack(cache: ProxiedTopology, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """All the rest, with the daemon ready."""
    folder = tmp_path_factory.mktemp("stack")
    async with start_stack(folder, channels=4, topology=cache.topology) as started:
        started.daemon.start()
        await started.daemon.wait_ready()
        yield started
        assert await started.daemon.stop() == 0


@pytest.fixture(scope="module")
async def serving(stack: Stack, cache: ProxiedTopology) -> AsyncIterator[DaemonProcess]:
    """A process of the role `api` beside the daemon, ready."""
    async with serving_process(stack, cache=cache.topology.cache_settings) as process:
        yield process


@dataclass
class Scene:
    """What a scenario works on, and what consumers saw of it."""

    stack: Stack
    cache: ProxiedTopology
    running: Exercise

    async def answers_come_from(self, source: str, count: int = 15) -> None:
        """Until so many answers in a row, from now on, are of one source."""
        answers = self.running.consumer.got.answers
        since = len(answers)
        try:
            with anyio.fail_after(_PATIENCE_S):
                while len(answers) < since + count or {s for _, s in answers[-count:]} != {source}:
                    await anyio.sleep(_LOOK_S)
        except TimeoutError:
            log = self.stack.daemon.log_end(8)
            raise AssertionError(f"not from the {source}, but {answers[-5:]}\n{log}") from None

    async def more_answers(self, count: int = 100) -> Counter[str]:
        """The sources of so many answers from now on."""
        since = now_ms()
        answers, before = self.running.consumer.got.answers, len(self.running.consumer.got.answers)
        with anyio.fail_after(_PATIENCE_S):
            while len(answers) < before + count:
                await anyio.sleep(_LOOK_S)
        return self.sources(since, now_ms())

    def sources(self, began_ms: float, ended_ms: float) -> Counter[str]:
        """How many answers each source gave between two moments."""
        return Counter(s for at, s in self.running.consumer.got.answers if began_ms < at < ended_ms)

    async def master(self) -> tuple[EmbeddedValkey, EmbeddedValkey]:
        """The master and the replica."""
        master = await self.cache.topology.master()
        return master, self.cache.topology.other(master)

    async def comes_back(self, node: EmbeddedValkey) -> None:
        """A node is started, empty, and follows the present master at once."""
        await node.restart()
        await self.cache.topology.follow(node)


Run = Callable[[Callable[[Scene], Awaitable[None]]], Awaitable[Result]]


@pytest.fixture
def role() -> str:
    """Of the process that consumers ask, where a test does not say otherwise."""
    return "all"


@pytest.fixture
def asked(request: pytest.FixtureRequest, stack: Stack, role: str, full: bool) -> DaemonProcess:
    """The process that consumers ask."""
    if role == "all":
        return stack.daemon
    if not full:
        pytest.skip("only at full length")
    process: DaemonProcess = request.getfixturevalue("serving")
    return process


@pytest.fixture
async def run(
    stack: Stack, cache: ProxiedTopology, asked: DaemonProcess, role: str, full: bool
) -> AsyncIterator[Run]:
    """Runs a scenario under load, from whole servers to an answering cache, and checks what must always hold."""
    load = LOADS[role]

    async def run(scenario: Callable[[Scene], Awaitable[None]]) -> Result:
        await cache.topology.whole()
        before = frozenset(await stack.truth())
        running = Exercise(
            replace(stack, daemon=asked),
            seconds=600,
            rate=load.rate if full else load.rate / 2,
            poll_interval_s=_POLL_INTERVAL_S,
            hold_s=load.hold_s,
            omits_s=load.omits_s,
            behind_s=_BEHIND_S,
            before=before,
        )
        scene = Scene(running.stack, cache, running)

        async def whole(_: Stack) -> None:
            await scene.answers_come_from("cache")
            await scenario(scene)
            await scene.answers_come_from("cache")
            running.poster.stop()

        running.faults = [Fault("scenario", 0.0, whole)]
        result = await running.run()
        slowest_ms = max(running.consumer.got.poll_ms)
        print(
            f"{result.seconds:.1f} s, {result.posted} posted, {result.sources}, slowest poll {slowest_ms:.0f} ms, "
            f"errors {result.errors}"
        )
        if not result.verdict.clean:
            pytest.fail("\n".join([*result.verdict.lines(), stack.daemon.log_end(8), asked.log_end(8)]))
        assert result.acknowledged == result.polled
        assert not any(kind.startswith("poll") for kind in result.errors), result.errors
        assert (stack.daemon.starts, asked.starts, asked.running) == (1, 1, True)
        return result

    yield run
    await repair(stack, cache)


async def repair(stack: Stack, cache: ProxiedTopology) -> None:
    """Whatever a scenario has left: the next one begins with whole servers, and nothing waits."""
    cache.heal()
    for server in (*cache.topology.nodes, *cache.topology.sentinels):
        server.resume()
        if not server.running:
            await server.restart()
    for node in cache.topology.nodes:
        async with node.connect() as client:
            await client.config_set("maxmemory", "0")
            await client.config_set("maxmemory-policy", "noeviction")
    if not stack.postgres.running:
        await stack.postgres.restart()
    rest = Consumer(
        stack.daemon.url, stack.daemon.api_key, stack.channel_ids, interval_s=_LOOK_S, name=CONSUMER
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rest.run)
        with anyio.fail_after(_PATIENCE_S):
            while any(row.status in ("received", "queued") for _, row in await stack.rows()):
                await anyio.sleep(_LOOK_S)
        tasks.cancel_scope.cancel()


def mostly(sources: Counter[str], source: str) -> None:
    """The one source answers. Where the machine is busy the cache may be late for a poll, which is answered all the
    same."""
    assert sources[source] > sources.total() / 2, sources
    assert "journal" not in sources


def now_ms() -> float:
    return time.time() * 1000


@everywhere
async def test_the_master_is_killed(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        killed_ms = now_ms()
        await old.kill()
        await scene.cache.topology.failed_over(new)
        # Before Sentinels may so much as think of another master.
        assert set(scene.sources(killed_ms + _NOTICED_MS, killed_ms + DOWN_AFTER_MS)) <= {"database"}
        assert "database" in scene.sources(killed_ms, now_ms())
        await scene.answers_come_from("cache")
        print(f"{now_ms() - killed_ms:.0f} ms from the kill to answers from the cache")
        await scene.comes_back(old)

    assert (await run(scenario)).errors == {}


@everywhere
async def test_the_master_freezes_and_comes_back(run: Run, full: bool, role: str) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        frozen_ms = now_ms()
        old.suspend()
        await scene.cache.topology.failed_over(new)
        assert set(scene.sources(frozen_ms + _NOTICED_MS, frozen_ms + DOWN_AFTER_MS)) <= {"database"}
        await scene.answers_come_from("cache")
        await anyio.sleep(max(0.0, (frozen_ms - now_ms()) / 1000 + (10.0 if full else 4.0)))
        old.resume()
        # It takes itself for the master still, and holds what was true long ago.
        assert await is_master(old)
        mostly(await scene.more_answers(), "cache")
        if full and role == "all":
            # The Sentinels see to it by themselves, some 10 s later.
            await scene.cache.topology.whole()
        else:
            await scene.cache.topology.follow(old)

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_the_master_is_restarted_empty(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        before = await history(master)
        restarted_ms = now_ms()
        await master.kill()
        await master.restart()
        assert await history(master) != before
        await scene.answers_come_from("cache")
        assert "database" in scene.sources(restarted_ms, now_ms())

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_fail_over_to_the_replica_and_back_to_the_first_master(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        topology = scene.cache.topology
        first, second = await scene.master()
        for old, new in ((first, second), (second, first)):
            began_ms = now_ms()
            assert await topology.fail_over() is new
            await topology.follow(old)
            await scene.answers_come_from("cache")
            assert "database" in scene.sources(began_ms, now_ms())
            await topology.whole()

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_two_sentinels_are_killed_and_then_the_master(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        last, *dead = scene.cache.topology.sentinels
        for sentinel in dead:
            await sentinel.kill()
        mostly(await scene.more_answers(), "cache")
        killed_ms = now_ms()
        await old.kill()
        async with last.connect() as client:
            with anyio.fail_after(_PATIENCE_S):
                while "s_down" not in (await client.sentinel_master("mymaster"))["flags"]:
                    await anyio.sleep(_LOOK_S)
        # It cannot decide alone.
        await scene.more_answers()
        assert set(scene.sources(killed_ms + _NOTICED_MS, now_ms())) == {"database"}
        for sentinel in dead:
            await sentinel.restart()
        await scene.cache.topology.failed_over(new)
        await scene.answers_come_from("cache")
        await scene.comes_back(old)

    assert (await run(scenario)).errors == {}


@everywhere
async def test_a_replica_that_lacks_the_last_writes_is_promoted(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        got = scene.running.consumer.got
        # Of the links to the master, the replica's alone.
        scene.cache.proxy(old).set(REFUSED, scene.cache.source(new))
        await scene.cache.proxy(old).cut(scene.cache.source(new))
        last = set(got.received)
        acknowledged = got.acknowledged
        with anyio.fail_after(_PATIENCE_S):
            # Soon: Sentinels take no replica that has been without its master for 10 s.
            while len(got.received) < len(last) + 60 or got.acknowledged < acknowledged + 10:
                await anyio.sleep(_LOOK_S)
        written = [f"telegram:dedup:{channel}:{message}" for channel, message in got.received.keys() - last]
        began_ms = now_ms()
        assert await scene.cache.topology.fail_over() is new
        async with old.connect() as client, new.connect() as stale:
            assert None not in await client.mget(written)
            assert None in await stale.mget(written)
        await scene.answers_come_from("cache")
        assert "database" in scene.sources(began_ms, now_ms())
        scene.cache.heal()
        await scene.cache.topology.follow(old)

    assert (await run(scenario)).errors == {}


@everywhere
async def test_a_partition_leaves_two_masters_alive(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        near, *far = scene.cache.topology.sentinels
        # The daemon is with the old master and one Sentinel, which cannot tell it that the others promote the replica.
        scene.cache.part([old, near], [new, *far], clients=True)
        announced = scene.cache.topology.seat(new).announced
        with anyio.fail_after(_PATIENCE_S):
            # Promoted and named: healed in between, the Sentinels may give the fail-over up again.
            while not (await is_master(new) and {await named_by(each) for each in far} == {announced}):
                await anyio.sleep(_LOOK_S)
        assert await is_master(old)
        mostly(await scene.more_answers(200), "cache")
        healed_ms = now_ms()
        scene.cache.heal()
        await scene.cache.topology.failed_over(new)
        await scene.answers_come_from("cache")
        await scene.cache.topology.follow(old)
        assert "database" in scene.sources(healed_ms, now_ms())

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_a_partition_takes_the_master_away_and_gives_it_back(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        old, new = await scene.master()
        parted_ms = now_ms()
        scene.cache.part([old], [new, *scene.cache.topology.sentinels], clients=False)
        await scene.cache.topology.failed_over(new)
        assert await is_master(old)
        assert set(scene.sources(parted_ms + _NOTICED_MS, parted_ms + DOWN_AFTER_MS)) <= {"database"}
        await scene.answers_come_from("cache")
        # What was written and never arrived arrives at the old one now.
        scene.cache.heal()
        mostly(await scene.more_answers(), "cache")
        await scene.cache.topology.follow(old)

    assert (await run(scenario)).errors == {}


@everywhere
async def test_somebody_flushes_the_master(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        flushed_ms = now_ms()
        async with master.connect() as client:
            await client.flushall()
        await scene.answers_come_from("cache")
        assert "database" in scene.sources(flushed_ms, now_ms())

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_the_masters_memory_is_full(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        async with master.connect() as client:
            await client.config_set("maxmemory", "1mb")
            # What it holds is right while its lease lasts.
            await scene.answers_come_from("database", 150)
            await client.config_set("maxmemory", "0")

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_a_master_that_throws_keys_away_is_not_trusted(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        async with master.connect() as client:
            await client.config_set("maxmemory-policy", "allkeys-lru")
            await client.config_set("maxmemory", "1mb")
            await scene.answers_come_from("database")
            assert set(await scene.more_answers()) == {"database"}
            await client.config_set("maxmemory", "0")
            await client.config_set("maxmemory-policy", "noeviction")

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_clients_are_killed_again_and_again(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        began_ms = now_ms()
        killed = 0
        async with master.connect() as client:
            while now_ms() < began_ms + 4000:
                killed += await client.client_kill_filter(_type="normal", skipme=True)
                await anyio.sleep(0.05)
        assert killed > 10
        assert "journal" not in scene.sources(began_ms, now_ms())

    assert (await run(scenario)).errors == {}


@valkey_alone
async def test_the_way_to_the_master_is_slow(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        master, _ = await scene.master()
        scene.cache.set_clients(master, Line.slow(0.05))
        await scene.answers_come_from("cache")
        assert "cache" in await scene.more_answers()
        slow_ms = now_ms()
        scene.cache.set_clients(master, Line.slow(5.0))
        await scene.answers_come_from("database")
        await scene.more_answers(200)
        assert set(scene.sources(slow_ms + _NOTICED_MS, now_ms())) == {"database"}
        scene.cache.heal()

    assert (await run(scenario)).errors == {}


@valkey_alone
@pytest.mark.parametrize("first", ["cache", "database"])
async def test_both_stores_are_down_and_one_comes_back_before_the_other(run: Run, first: str) -> None:
    async def scenario(scene: Scene) -> None:
        master, replica = await scene.master()
        for node in (replica, master):
            await node.kill()
        await scene.stack.postgres.kill()
        await scene.answers_come_from("journal")
        assert set(await scene.more_answers()) == {"journal"}

        async def cache_comes_back() -> None:
            for node in (master, replica):
                await node.restart()

        if first == "cache":
            await cache_comes_back()
            # An empty cache proves nothing, and only the database could fill it.
            assert set(await scene.more_answers()) == {"journal"}
            await scene.stack.postgres.restart()
        else:
            await scene.stack.postgres.restart()
            await scene.answers_come_from("database")
            await cache_comes_back()
        await scene.answers_come_from("cache")

    # Only an acknowledgement of which nobody can tell the channel may be refused meanwhile.
    assert (await run(scenario)).errors.keys() <= {"acknowledge: 503"}


async def history(node: EmbeddedValkey) -> str:
    async with node.connect() as client:
        return str((await client.info("replication"))["master_replid"])


async def named_by(sentinel: EmbeddedValkey) -> int:
    """The port of the master that a Sentinel names."""
    async with sentinel.connect() as client:
        return int((await client.sentinel_master("mymaster"))["port"])


async def is_master(node: EmbeddedValkey) -> bool:
    """It says so. A node that is being promoted ends its clients' connections."""
    try:
        async with node.connect() as client:
            return bool((await client.info("replication"))["role"] == "master")
    except redis.exceptions.ConnectionError:
        return False

"""The cache on each server program, and whatever can be wrong with one: polls go on, nothing is lost, it heals."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import redis.asyncio
import redis.exceptions
import structlog.testing
from anyio.abc import SocketAttribute, SocketStream

from support.cache_servers import CacheServer, program, programs, start_cache_server, version
from support.cached import HEALS_S, served_by_the_cache, working
from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import empty_database
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage.cache_errors import Kind, problem
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
CHANNEL, OTHER = CHANNELS
LOGIN = "gateway:secret"

Admin = redis.asyncio.Redis
Step = Callable[[CacheServer, Admin], Awaitable[object]]


def named(name: str) -> str:
    return version(Path(name)) if name.startswith("/") else name


@pytest.fixture(params=programs(), ids=named)
def path(request: pytest.FixtureRequest) -> Path:
    return program(request.param)


@pytest.fixture
async def server(path: Path, tmp_path: Path) -> AsyncIterator[CacheServer]:
    user = "user gateway on >secret ~telegram:* +@all"
    async with start_cache_server(path, tmp_path / "cache", user) as started:
        yield started


@pytest.fixture
async def admin(server: CacheServer) -> AsyncIterator[Admin]:
    async with server.client() as client:
        yield client


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> str:
    await empty_database(postgres.dsn)
    return postgres.dsn


async def keeps_working(pipeline: Pipeline, kind: Kind) -> None:
    """With a server that is spoiled: posts, edits and acknowledgements take effect, and the problem is told."""
    before = pipeline.cache.errors[kind]
    await pipeline.accept([post(4, "4")])
    assert (await pipeline.poll())[1] == ["1", "2", "3", "4"]
    await pipeline.accept([post(2, "two", edit_date_s=9)])
    assert await pipeline.acknowledge(1) == 1
    with anyio.fail_after(HEALS_S):
        while pipeline.cache.errors[kind] < before + 3 or pipeline.sync.reason is None:
            assert (await pipeline.poll())[1] == ["two", "3", "4"]
            await anyio.sleep(0.02)


async def kill_clients(admin: Admin) -> None:
    await admin.client_kill_filter(_type="normal", skipme=True)


async def set_user(admin: Admin, *rules: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "gateway", *rules)  # type: ignore[no-untyped-call]


async def fill_memory(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("maxmemory", "1")


async def free_memory(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("maxmemory", "0")


async def demote(server: CacheServer, admin: Admin) -> None:
    await admin.replicaof("127.0.0.1", "1")


async def promote(server: CacheServer, admin: Admin) -> None:
    await admin.replicaof("NO", "ONE")


async def fail_to_save(server: CacheServer, admin: Admin) -> None:
    server.folder.chmod(0o500)
    await admin.config_set("save", "3600 1")
    await admin.bgsave()
    with anyio.fail_after(HEALS_S):
        while (await admin.info("persistence"))["rdb_last_bgsave_status"] != "err":
            await anyio.sleep(0.02)


async def save(server: CacheServer, admin: Admin) -> None:
    server.folder.chmod(0o700)
    with anyio.fail_after(HEALS_S):
        while (await admin.info("persistence"))["rdb_last_bgsave_status"] != "ok":
            with suppress(redis.exceptions.ResponseError):  # one is under way
                await admin.bgsave()
            await anyio.sleep(0.1)


async def lack_replicas(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("min-replicas-to-write", "1")


async def need_no_replicas(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("min-replicas-to-write", "0")


async def want_password(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("requirepass", "secret")
    await kill_clients(admin)


async def want_no_password(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("requirepass", "")


async def change_password(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "resetpass", ">other")
    await kill_clients(admin)


async def change_password_back(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, ">secret")


async def disable_user(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "off")
    await kill_clients(admin)


async def enable_user(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "on")


async def forbid_scripts(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "-evalsha")


async def allow_scripts(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "+evalsha")


async def forbid_writing(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "-zadd")


async def allow_writing(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "+zadd")


async def forbid_keys(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "resetkeys", "~elsewhere:*")


async def allow_keys(server: CacheServer, admin: Admin) -> None:
    await set_user(admin, "resetkeys", "~telegram:*")


async def admit_nobody(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("maxclients", "1")
    await kill_clients(admin)


async def admit_many(server: CacheServer, admin: Admin) -> None:
    await admin.config_set("maxclients", "1000")


async def end(server: CacheServer, admin: Admin) -> None:
    await server.process.kill()


async def begin(server: CacheServer, admin: Admin) -> None:
    await server.start()


async def freeze(server: CacheServer, admin: Admin) -> None:
    server.process.suspend()


async def thaw(server: CacheServer, admin: Admin) -> None:
    server.process.resume()


@dataclass(frozen=True)
class Trouble:
    """How a server is spoiled and mended, and what that is called."""

    spoil: Step
    mend: Step
    kind: Kind

    def __str__(self) -> str:
        return getattr(self.spoil, "__name__", "?")


TROUBLES = [
    Trouble(fill_memory, free_memory, Kind.OUT_OF_MEMORY),
    Trouble(demote, promote, Kind.READONLY),
    Trouble(fail_to_save, save, Kind.MISCONF),
    Trouble(lack_replicas, need_no_replicas, Kind.NO_REPLICAS),
    Trouble(change_password, change_password_back, Kind.WRONGPASS),
    Trouble(disable_user, enable_user, Kind.WRONGPASS),
    Trouble(forbid_scripts, allow_scripts, Kind.NO_PERMISSION),
    Trouble(forbid_writing, allow_writing, Kind.NO_PERMISSION),
    Trouble(forbid_keys, allow_keys, Kind.NO_PERMISSION),
    Trouble(admit_nobody, admit_many, Kind.TOO_MANY_CLIENTS),
    Trouble(end, begin, Kind.UNREACHABLE),
    Trouble(freeze, thaw, Kind.TIMEOUT),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
async def test_trouble_is_told_and_counted_and_passes_without_a_loss(
    trouble: Trouble, path: Path, server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    if trouble.kind is Kind.NO_REPLICAS and "v=6." in version(path):
        pytest.skip("Redis 6.2 lets scripts write without replicas")
    with structlog.testing.capture_logs() as logs:
        async with working(tmp_path, dsn, server.url(LOGIN)) as pipeline:
            await trouble.spoil(server, admin)
            await keeps_working(pipeline, trouble.kind)
            told = [line for line in logs if line["event"] == "cache_unavailable"]
            await trouble.mend(server, admin)
            await served_by_the_cache(pipeline, ["two", "3", "4"])
    assert [line["kind"] for line in told].count(trouble.kind.value) == 1, "once, however often it was met"
    words = problem(trouble.kind).text.partition(";")[0]
    assert any(str(line["problem"]).startswith(words) for line in told)
    assert "secret" not in str(logs)


async def test_a_password_that_is_wanted_all_at_once_is_missed(
    server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    async with working(tmp_path, dsn, server.url()) as pipeline:
        await want_password(server, admin)
        await keeps_working(pipeline, Kind.NO_AUTH)
        await want_no_password(server, admin)
        await served_by_the_cache(pipeline, ["two", "3", "4"])


async def test_somebodys_endless_script_is_waited_for(
    server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    await admin.config_set("lua-time-limit", "20")
    async with working(tmp_path, dsn, server.url()) as pipeline, AsyncExitStack() as stack:
        somebody = await stack.enter_async_context(server.client())
        ended = anyio.Event()

        async def run() -> None:
            with pytest.raises(redis.exceptions.ResponseError, match="killed"):
                await somebody.eval("while true do end", 0)
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await keeps_working(pipeline, Kind.BUSY)
            await admin.script_kill()
            await ended.wait()
        await served_by_the_cache(pipeline, ["two", "3", "4"])


EVICTING = [f"{keys}-{way}" for keys in ("allkeys", "volatile") for way in ("lru", "lfu", "random")]


@pytest.mark.parametrize("policy", [*EVICTING, "volatile-ttl"])
async def test_a_server_that_throws_keys_away_omits_nothing_and_is_not_used(
    policy: str, server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    texts = [str(n) for n in range(1, 201)]
    async with working(tmp_path, dsn, server.url(), posts=200) as pipeline:
        await admin.config_set("maxmemory-policy", policy)
        await admin.config_set("maxmemory", "1")
        with anyio.fail_after(HEALS_S):
            while not (await admin.info("stats"))["evicted_keys"]:
                # It makes room when it is asked to write.
                with pytest.raises(redis.exceptions.OutOfMemoryError):
                    await admin.set("elsewhere", "x")
        # At once, before anything has been noticed.
        assert (await pipeline.poll())[1] == texts
        with anyio.fail_after(HEALS_S):
            while not pipeline.cache.errors[Kind.EVICTS]:
                assert (await pipeline.poll())[1] == texts
        assert policy in (pipeline.sync.reason or "")
        await admin.config_set("maxmemory", "0")
        await served_by_the_cache(pipeline, texts)


async def test_a_server_with_room_that_would_throw_keys_away_is_not_used(
    server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    await admin.config_set("maxmemory", "1gb")
    await admin.config_set("maxmemory-policy", "volatile-lru")
    async with open_pipeline(tmp_path, dsn, server.url()) as pipeline, pipeline.running():
        await pipeline.accept([post(1, "one")])
        with anyio.fail_after(HEALS_S):
            while not pipeline.cache.errors[Kind.EVICTS]:
                assert await pipeline.poll() in [(Source.DATABASE, ["one"]), (Source.JOURNAL, ["one"])]
        await admin.config_set("maxmemory-policy", "noeviction")
        await served_by_the_cache(pipeline, ["one"])


KEYS = [
    "mark",
    "counts",
    f"pending:{CHANNEL}",
    f"channel:{CHANNEL}:recent",
    f"msg:{CHANNEL}:2",
    f"done:{CHANNEL}:9",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("spoiled", ["deleted", "of another type"])
async def test_a_key_that_somebody_else_spoils_omits_nothing_and_is_put_right(
    key: str, spoiled: str, server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    name = f"telegram:{key}"
    async with working(tmp_path, dsn, server.url()) as pipeline:
        await pipeline.accept([post(9, "9")])
        await pipeline.acknowledge(9)
        await served_by_the_cache(pipeline, ["1", "2", "3"])
        kind = await admin.type(name)
        async with admin.pipeline(transaction=True) as together:
            together.delete(name)
            if spoiled == "of another type":
                together.rpush(name, "somebody's")
            await together.execute()
        assert (await pipeline.poll())[1] == ["1", "2", "3"], "at once, before anything has been noticed"
        await pipeline.accept([post(4, "4"), post(2, "two", edit_date_s=9)])
        await served_by_the_cache(pipeline, ["1", "two", "3", "4"])
        if spoiled == "of another type":
            # A tombstone is one whatever it holds.
            assert key.startswith("done") or await admin.type(name) == kind
            if not key.startswith(("msg", "done", "channel")):
                assert pipeline.cache.errors[Kind.WRONG_TYPE]


@pytest.mark.parametrize("change", ["added", "removed"])
async def test_a_pending_set_that_somebody_else_changes_is_not_believed(
    change: str, server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    name = f"telegram:pending:{CHANNEL}"
    async with working(tmp_path, dsn, server.url()) as pipeline:
        if change == "removed":
            await admin.zpopmin(name)
        else:
            await admin.zadd(name, {f"{'0' * 36}:77": 1})
        assert await pipeline.poll() == (Source.DATABASE, ["1", "2", "3"])
        await served_by_the_cache(pipeline, ["1", "2", "3"])
        assert await admin.zcard(name) == 3


async def test_a_node_of_a_cluster_is_not_used(path: Path, dsn: str, tmp_path: Path) -> None:
    async with (
        start_cache_server(path, tmp_path / "cache", "cluster-enabled yes") as server,
        open_pipeline(tmp_path, dsn, server.url()) as pipeline,
        pipeline.running(),
    ):
        await pipeline.accept([post(n, str(n)) for n in (1, 2, 3)])
        await keeps_working(pipeline, Kind.CLUSTER)
        assert (pipeline.sync.reason or "").startswith("the server is a node of a cluster")


async def test_a_server_without_a_command_that_is_needed_is_told(
    path: Path, dsn: str, tmp_path: Path
) -> None:
    async with (
        start_cache_server(path, tmp_path / "cache", 'rename-command INFO ""') as server,
        open_pipeline(tmp_path, dsn, server.url()) as pipeline,
        pipeline.running(),
    ):
        await pipeline.accept([post(n, str(n)) for n in (1, 2, 3)])
        await keeps_working(pipeline, Kind.MISSING_COMMAND)
        assert "INFO" in (pipeline.sync.reason or "")


async def test_a_server_that_loads_its_data_is_waited_for(
    server: CacheServer, admin: Admin, dsn: str, tmp_path: Path
) -> None:
    await admin.config_set("rdbcompression", "no")
    # While it loads it answers after each 2 MB, which is ten of these keys and so a tenth of a second.
    await admin.eval("for i = 1, 250 do redis.call('SET', 'elsewhere:' .. i, string.rep('x', 200000)) end", 0)
    async with working(tmp_path, dsn, server.url()) as pipeline:
        await admin.save()
        await server.process.kill()
        with server.configuration.open("a") as lines:
            lines.write("key-load-delay 12000\n")
        await server.start()
        await keeps_working(pipeline, Kind.LOADING)
        await served_by_the_cache(pipeline, ["two", "3", "4"])


async def test_a_redis_6_that_replicates_scripts_as_they_are_written_is_used(
    path: Path, dsn: str, tmp_path: Path
) -> None:
    if "v=6." not in version(path):
        pytest.skip("newer servers always replicate what a script did")
    async with (
        start_cache_server(path, tmp_path / "cache", "lua-replicate-commands no") as server,
        working(tmp_path, dsn, server.url()),
    ):
        pass


async def test_a_database_number_that_is_not_there_is_told(
    server: CacheServer, dsn: str, tmp_path: Path
) -> None:
    url = server.url().replace("/0", "/99")
    async with open_pipeline(tmp_path, dsn, url) as pipeline, pipeline.running():
        await pipeline.accept([post(n, str(n)) for n in (1, 2, 3)])
        await keeps_working(pipeline, Kind.NO_DATABASE)


async def test_what_is_no_such_server_is_told(dsn: str, tmp_path: Path) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        url = f"redis://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/0"
        async with open_pipeline(tmp_path, dsn, url) as pipeline, pipeline.running():
            await pipeline.accept([post(n, str(n)) for n in (1, 2, 3)])
            await keeps_working(pipeline, Kind.PROTOCOL)
        tasks.cancel_scope.cancel()

"""The cache behind TLS and for a user with least rights; and what docs/cache.md says of keys, rights and problems."""

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import redis.asyncio

from support.cache_servers import DEBIAN, CacheServer, program, programs, start_cache_server
from support.cached import HEALS_S, LEASE_S, served_by_the_cache, working
from support.debian import needed
from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import empty_database
from telewarden.messages import Key
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage.acceptance import Gone
from telewarden.storage.cache_errors import Kind
from telewarden.storage.cache_keys import CacheKeys
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
CHANNEL = CHANNELS[0]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "cache.md"


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> str:
    await empty_database(postgres.dsn)
    return postgres.dsn


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page, without its head."""
    part = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


class Authority:
    """A CA of the test's own, and certificates that it signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        folder.mkdir(exist_ok=True)
        self._openssl(
            "req",
            "-x509",
            *self._new_key(name),
            "-days",
            "1",
            "-subj",
            f"/CN={name}",
            "-out",
            self.file(name),
        )

    def file(self, name: str, ending: str = "pem") -> str:
        return str(self.folder / f"{name}.{ending}")

    def sign(self, name: str, alternative: str) -> None:
        """Make NAME.pem and NAME.key. alternative: whom it is for, such as IP:127.0.0.1."""
        request, extensions = self.file(name, "csr"), self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        self._openssl("req", *self._new_key(name), "-subj", f"/CN={name}", "-out", request)
        self._openssl(
            *("x509", "-req", "-in", request, "-days", "1", "-CA", self.file(self.name)),
            *("-CAkey", self.file(self.name, "key"), "-CAcreateserial", "-extfile", str(extensions)),
            *("-out", self.file(name)),
        )

    def server_lines(self, name: str, clients: str = "no") -> list[str]:
        """How a server is told to use a certificate. clients: whether it wants one of them."""
        return [
            f"tls-cert-file {self.file(name)}",
            f"tls-key-file {self.file(name, 'key')}",
            f"tls-ca-cert-file {self.file(self.name)}",
            f"tls-auth-clients {clients}",
        ]

    def _new_key(self, name: str) -> list[str]:
        return [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            self.file(name, "key"),
        ]

    def _openssl(self, *arguments: str) -> None:
        openssl = needed(Path("/usr/bin/openssl"), "openssl")
        subprocess.run([openssl, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "certificates", "ca")
    made.sign("server", "IP:127.0.0.1")
    made.sign("elsewhere", "DNS:elsewhere.example")
    return made


async def is_told(pipeline: Pipeline, kind: Kind) -> None:
    """The problem is counted and said; polls go on."""
    await pipeline.accept([post(1, "1")])
    with anyio.fail_after(HEALS_S):
        while not pipeline.cache.errors[kind]:
            source, texts = await pipeline.poll()
            assert texts == ["1"]
            assert source is not Source.CACHE
            await anyio.sleep(0.02)


async def test_a_cache_behind_tls_serves_a_user_with_a_password(
    authority: Authority, dsn: str, tmp_path: Path
) -> None:
    async with start_cache_server(
        needed(DEBIAN, "redis-server"),
        tmp_path / "cache",
        "user gateway on >se#cret ~telegram:* +@all",
        tls=authority.server_lines("server"),
        options=f"?ssl_ca_certs={authority.file('ca')}",
    ) as server:
        url = server.url("gateway:se%23cret")
        assert url.startswith("rediss://")
        async with working(tmp_path, dsn, url) as pipeline:
            await server.process.kill()
            await server.start()
            await served_by_the_cache(pipeline, ["1", "2", "3"])


async def test_a_server_may_want_a_certificate_of_the_client(
    authority: Authority, dsn: str, tmp_path: Path
) -> None:
    authority.sign("client", "DNS:gateway.example")
    own = f"&ssl_certfile={authority.file('client')}&ssl_keyfile={authority.file('client', 'key')}"
    async with (
        start_cache_server(
            needed(DEBIAN, "redis-server"),
            tmp_path / "cache",
            tls=authority.server_lines("server", clients="yes"),
            options=f"?ssl_ca_certs={authority.file('ca')}{own}",
        ) as server,
        working(tmp_path, dsn, server.url()),
    ):
        pass


@pytest.mark.parametrize("certificate", ["of another CA", "for another host"])
async def test_a_certificate_that_is_not_to_be_trusted_is_told(
    certificate: str, authority: Authority, dsn: str, tmp_path: Path
) -> None:
    trusted = f"?ssl_ca_certs={authority.file('ca')}"
    name = "server" if certificate == "of another CA" else "elsewhere"
    async with start_cache_server(
        needed(DEBIAN, "redis-server"),
        tmp_path / "cache",
        tls=authority.server_lines(name),
        options=f"{trusted}&ssl_check_hostname=false",
    ) as server:
        if certificate == "of another CA":
            stranger = Authority(tmp_path / "strangers", "stranger")
            trusted = f"?ssl_ca_certs={stranger.file('stranger')}"
        async with (
            open_pipeline(tmp_path, dsn, server.url(options=trusted)) as pipeline,
            pipeline.running(),
        ):
            await is_told(pipeline, Kind.TLS)
            assert "ssl_ca_certs" in (pipeline.sync.reason or "")
        # The same server does for whom it is meant.
        async with working(tmp_path, dsn, server.url(), posts=1):
            pass


async def test_a_server_that_speaks_tls_is_not_reached_without(
    authority: Authority, dsn: str, tmp_path: Path
) -> None:
    async with start_cache_server(
        needed(DEBIAN, "redis-server"),
        tmp_path / "cache",
        tls=authority.server_lines("server"),
        options=f"?ssl_ca_certs={authority.file('ca')}",
    ) as server:
        plain = server.url(options="").replace("rediss:", "redis:")
        async with open_pipeline(tmp_path, dsn, plain) as pipeline, pipeline.running():
            await is_told(pipeline, Kind.UNREACHABLE)


@pytest.fixture(params=programs())
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheServer]:
    async with start_cache_server(program(request.param), tmp_path / "cache") as started:
        yield started


async def everything(pipeline: Pipeline) -> None:
    """Each operation on the cache once: so many wait in the other channel that it overflows."""
    await pipeline.accept([post(n, str(n)) for n in range(4, 7)])
    await pipeline.accept([post(n, str(n), channel=CHANNELS[1]) for n in range(101, 108)])
    await pipeline.accept([post(5, "five", edit_date_s=9), Gone(CHANNEL, 6)])
    await pipeline.acknowledge(1)
    await pipeline.acknowledge(99, channel=CHANNEL)
    await served_by_the_cache(pipeline, ["2", "3", "4", "five"])
    assert await pipeline.reader.seen(str(CHANNEL), [4, 77]) == {4}


async def commands(admin: "redis.asyncio.Redis") -> set[str]:
    """Those that were run, by their names without subcommands."""
    statistics = await admin.info("commandstats")
    return {name.removeprefix("cmdstat_").partition("|")[0] for name in statistics}


async def looked_at(keys: CacheKeys) -> None:
    """What `telewarden cache status`, `verify` and `flush` ask the server."""
    assert (await keys.proof()).mark is not None
    assert (await keys.waiting())[CHANNEL] == (4, False)
    members = await keys.members(CHANNEL, (0, 0), 10)
    assert await keys.scores([(CHANNEL, member) for member, _ in members]) == [score for _, score in members]
    assert len(await keys.bodies([Key(CHANNEL, 2)])) == 1
    assert await keys.done([Key(CHANNEL, 2)]) == set()
    await keys.version()
    cursor, foreign = 0, 0
    while True:
        removed = await keys.remove(cursor)
        foreign += removed.foreign
        if (cursor := removed.cursor) == 0:
            break
    assert foreign == 0, "every key that is written is known"


async def test_a_user_with_the_rights_that_the_page_lists_is_enough_and_no_right_is_too_many(
    server: CacheServer, dsn: str, tmp_path: Path
) -> None:
    lines = re.findall(r"^ACL SETUSER (\w+) (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    (name, rules), (_, for_commands) = lines
    rules, for_commands = rules.replace("PASSWORD", "secret").split(), for_commands.split()
    async with server.client() as admin:
        await admin.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]
        async with working(tmp_path, dsn, server.url(f"{name}:secret")) as pipeline:
            await everything(pipeline)
            await admin.flushall()
            await served_by_the_cache(pipeline, ["2", "3", "4", "five"])
            pipeline.sync.distrust("for the test")
            await served_by_the_cache(pipeline, ["2", "3", "4", "five"])
            with anyio.fail_after(HEALS_S):
                while "pexpire" not in (used := await commands(admin)):
                    await anyio.sleep(0.05)
            await admin.execute_command("ACL", "SETUSER", name, *for_commands)  # type: ignore[no-untyped-call]
            await looked_at(CacheKeys(pipeline.cache))
        used |= await commands(admin)
        refused = {str(entry["object"]) for entry in await admin.acl_log()}
        assert {what for what in refused if not what.startswith("client")} == set()
    granted = {rule[1:] for rule in (*rules, *for_commands) if rule.startswith("+")}
    assert {right.partition("|")[0] for right in granted} - used == set()


async def test_every_key_that_is_written_is_in_the_pages_table_with_its_type_and_its_end(
    server: CacheServer, dsn: str, tmp_path: Path
) -> None:
    table = {}
    for pattern, kind, ends, *_ in rows("Its keys"):
        name = re.sub(r"\\\{\w+\\\}", r"-?\\d+", re.escape(codes(pattern)[0]))
        seconds = re.match(r"(\d+) s", ends)
        assert seconds or ends.startswith("never"), ends
        table[name] = (kind, int(seconds[1]) * 1000 if seconds else -1)
    met = set()
    # The lease is the setting's default here, as on the page.
    async with (
        open_pipeline(tmp_path, dsn, server.url(), pending_bound=5) as pipeline,
        pipeline.running(),
        server.client() as admin,
    ):
        await pipeline.accept([post(n, str(n)) for n in range(1, 4)])
        await served_by_the_cache(pipeline, ["1", "2", "3"])
        await everything(pipeline)
        keys = [key async for key in admin.scan_iter()]
        for key in keys:
            named = [name for name in table if re.fullmatch(name, key)]
            assert len(named) == 1, key
            kind, most_ms = table[named[0]]
            assert await admin.type(key) == kind, key
            left_ms = await admin.pttl(key)
            # A mark is renewed each third of its lease; the others were written a moment ago.
            assert left_ms == -1 if most_ms == -1 else most_ms / 3 < left_ms <= most_ms, key
            met.add(named[0])
    assert met == set(table), "the table names no key that is not written"
    assert LEASE_S < 3


def test_every_kind_of_problem_is_on_the_page() -> None:
    listed = [kind for cells in rows("What can be wrong with it") for kind in codes(cells[0])]
    assert sorted(listed) == sorted(kind.value for kind in Kind)

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio
import redis.exceptions

from sandbox.leftovers import processes_in
from telewarden.sandbox.processes import ServerFailed
from telewarden.sandbox.valkey import EmbeddedValkey

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    async with EmbeddedValkey.start(tmp_path / "valkey") as server:
        yield server


async def test_it_answers_as_soon_as_it_is_there(valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        assert await client.ping()


async def test_it_keeps_nothing_on_disk(valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert await client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}


async def test_a_client_without_the_password_is_refused(valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{valkey.port}", retry=None) as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()


async def test_after_a_kill_it_comes_back_empty_on_the_same_port(valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        await client.set("key", "value")
    pid, port = valkey.pid, valkey.port

    await valkey.kill()
    assert not valkey.running
    async with redis.asyncio.Redis.from_url(valkey.url, retry=None) as client:
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.ping()

    await valkey.restart()
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        assert await client.exists("key") == 0
    assert valkey.port == port
    assert valkey.pid != pid


async def test_a_suspended_server_answers_only_after_it_is_resumed(valkey: EmbeddedValkey) -> None:
    valkey.suspend()
    async with redis.asyncio.Redis.from_url(valkey.url, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.ping()
    valkey.resume()
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        assert await client.ping()


async def test_stopping_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    async with EmbeddedValkey.start(folder) as server:
        assert processes_in(tmp_path) == [server.pid]
        await server.stop()
        assert processes_in(tmp_path) == []
    assert not folder.exists()


async def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    async with EmbeddedValkey.start(tmp_path, keep=True):
        pass
    async with EmbeddedValkey.start(tmp_path) as server, redis.asyncio.Redis.from_url(server.url) as client:
        assert await client.ping()


async def test_its_configuration_can_be_extended(tmp_path: Path) -> None:
    more = ["maxmemory 10mb", "maxmemory-policy allkeys-lru"]
    async with (
        EmbeddedValkey.start(tmp_path / "valkey", extra_config=more) as server,
        redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


async def test_why_it_did_not_start_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="Bad directive"):
        async with EmbeddedValkey.start(tmp_path, extra_config=["no-such-setting 1"]):
            pass


async def test_its_password_is_not_on_its_command_line(valkey: EmbeddedValkey) -> None:
    command = Path(f"/proc/{valkey.pid}/cmdline").read_text()
    password = valkey.url.partition("redis://:")[2].partition("@")[0]
    assert password
    assert password not in command

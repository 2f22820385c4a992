"""Stored keys on a real database: made by a command or over HTTP, known to running processes, taken back."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import asyncpg
import httpx
import pytest

from support.admin_api import ADMIN_KEY, Admin, admin_of
from support.operator import telewarden
from support.serving import serving_process
from support.told import Told
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack
from telewarden.storage.database import open_database
from telewarden.storage.keys import KeyStore
from telewarden.workers.keys import KeyFollower
from telewarden_http.auth import Keyring
from telewarden_http.errors import KeyExpired, KeyWrong
from telewarden_http.settings import ApiSettings
from telewarden_http.v1.keys_protocols import KeyRefused, NewKey

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("keys")
    settings: dict[str, dict[str, object]] = {"http": {"gateway_token": ADMIN_KEY, "access_log": True}}
    async with start_stack(folder, channels=2, settings=settings) as started, daemon_running(started):
        yield started


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Admin]:
    async with admin_of(stack.daemon.url) as found:
        yield found


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[KeyStore]:
    async with open_database(stack.postgres.dsn) as database:
        yield KeyStore(database)


async def status_of(url: str, key: str, path: str) -> int:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return (await client.get(path, headers={"Authorization": f"Bearer {key}"})).status_code


async def until(url: str, key: str, status: int, path: str = "/v1/channels") -> None:
    """Processes look every two seconds."""
    with anyio.fail_after(20):
        while await status_of(url, key, path) != status:
            await anyio.sleep(0.02)


async def command(stack: Stack, *arguments: str) -> tuple[int | None, str, str]:
    done = await telewarden(
        stack.folder, "keys", *arguments, "--config", str(stack.folder / "telewarden.toml")
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_a_key_made_by_a_command_opens_every_process_and_shows_its_channels_alone(stack: Stack) -> None:
    own, other = stack.channel_ids
    status, key, told = await command(
        stack, "create", "board", "--scope", "read", "--channel", str(own), "--expires", "90d"
    )
    key = key.strip()
    assert (status, len(key)) == (0, 55)
    assert f"Key {key[3:11]} of board: read; {own}; expires " in told
    async with serving_process(stack) as serving:
        for url in (stack.daemon.url, serving.url):
            await until(url, key, 200)
            assert await status_of(url, key, f"/api/messages/unprocessed?channel={own}") == 200
            assert await status_of(url, key, f"/api/messages/unprocessed?channel={other}") == 404
            assert await status_of(url, key, "/v1/admin/keys") == 403
        status, told, _ = await command(stack, "revoke", key[3:11])
        assert (status, told) == (0, f"the key {key[3:11]} of board is revoked\n")
        for url in (stack.daemon.url, serving.url):
            await until(url, key, 403)
        assert key not in serving.log
    assert key not in stack.daemon.log
    status, told, _ = await command(stack, "list")
    assert "revoked" in told
    assert key[12:] not in told


async def test_what_cannot_be_is_said(stack: Stack) -> None:
    assert await command(stack, "revoke", "abcdefgh") == (
        1,
        "",
        "telewarden: there is no key abcdefgh; see `telewarden keys list`\n",
    )
    status, _, told = await command(stack, "create", "board", "--scope", "write")
    assert (status, told) == (2, "telewarden: A key has one or more of the scopes read, ack, admin\n")
    assert (await command(stack, "create", "board", "--expires", "soon"))[0] == 2
    assert (await command(stack, "create", "board", "--channel", "12"))[0] == 2


async def test_a_key_is_rotated_over_http_and_both_open_meanwhile(stack: Stack, admin: Admin) -> None:
    made = await admin.ask("POST", "keys", {"name": "parser", "scopes": ["read", "ack"]}, status=201)
    await until(stack.daemon.url, made["key"], 200)
    new = await admin.ask("POST", f"keys/{made['id']}/rotate", {"overlapSeconds": 3600}, status=201)
    assert (new["consumer"], new["rotatedFrom"], new["scopes"]) == ("parser", made["id"], ["read", "ack"])
    await until(stack.daemon.url, new["key"], 200)
    assert await status_of(stack.daemon.url, made["key"], "/v1/channels") == 200
    listed = json.dumps((await admin.ask("GET", "keys"))["keys"])
    assert new["id"] in listed
    assert new["key"][12:] not in listed
    await admin.ask("DELETE", f"keys/{made['id']}")
    await until(stack.daemon.url, made["key"], 403)
    assert await status_of(stack.daemon.url, new["key"], "/v1/channels") == 200
    lines = [line for line in stack.daemon.log.splitlines() if "/v1/channels" in line]
    assert any("parser" in line for line in lines)
    assert new["key"][12:] not in stack.daemon.log


async def test_the_overlap_of_a_rotation_ends_and_a_dead_key_is_not_rotated(store: KeyStore) -> None:
    made = await store.create(NewKey("brief", ("read",), expires_at=datetime.now(UTC) + timedelta(days=1)))
    new = await store.rotate(made.info.id, 0)
    assert new is not None
    assert new.info.expires_at is not None
    assert abs(new.info.expires_at - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)
    keyring = Keyring(ApiSettings())
    keyring.learn(await store.valid())
    assert keyring.admit([(b"x-api-key", new.key.encode())]).name == "brief"
    with pytest.raises(KeyExpired):
        keyring.admit([(b"x-api-key", made.key.encode())])
    with pytest.raises(KeyRefused, match="is expired; create another one"):
        await store.rotate(made.info.id, 0)
    assert await store.rotate("abcdefgh", 0) is None
    await store.revoke(new.info.id)
    keyring.learn(await store.valid())
    with pytest.raises(KeyWrong):
        keyring.admit([(b"x-api-key", new.key.encode())])


async def test_a_key_that_lasts_to_the_end_of_the_calendar_is_rotated(store: KeyStore) -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
    made = await store.create(NewKey("ever", ("read",), expires_at=end))
    new = await store.rotate(made.info.id, 0)
    assert new is not None
    assert new.info.expires_at == end


async def test_when_a_key_was_used_is_noted_and_nothing_of_its_secret_is_stored(
    stack: Stack, store: KeyStore
) -> None:
    made = await store.create(NewKey("seen", ("read",)))
    keyring = Keyring(ApiSettings())
    keyring.learn(await store.valid())
    keyring.admit([(b"x-api-key", made.key.encode())])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(KeyFollower(keyring, store, look_s=0.01, use_s=0.0).run, Told())
        with anyio.fail_after(10):
            while next(key for key in await store.keys() if key.id == made.info.id).last_used_at is None:
                await anyio.sleep(0.01)
            while keyring.used:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    sql = await asyncpg.connect(stack.postgres.dsn)
    row = str(await sql.fetchrow("select * from telegram_gateway.api_keys where id = $1", made.info.id))
    assert made.key[12:] not in row
    await sql.execute("set role telegram_reader")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await sql.fetch("select digest from telegram_gateway.api_keys")
    await sql.close()

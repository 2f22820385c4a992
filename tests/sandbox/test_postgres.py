import stat
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import asyncpg
import pytest

from sandbox.leftovers import nothing_runs_in, processes_in
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.processes import ServerFailed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres.start(tmp_path / "postgres") as server:
        yield server


async def ask(server: EmbeddedPostgres, query: str) -> object:
    connection = await asyncpg.connect(server.dsn, timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_answers_as_soon_as_it_is_there(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres, "select current_database()") == "telegram_gateway"


async def test_it_is_durable_private_and_the_same_everywhere(postgres: EmbeddedPostgres) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "TimeZone": "UTC",
        "max_connections": "50",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "server_encoding": "UTF8",
    }
    found = {name: await ask(postgres, f"select current_setting('{name}')") for name in expected}
    assert found == expected


async def test_its_text_is_sorted_by_code_point(postgres: EmbeddedPostgres) -> None:
    query = "select datcollate from pg_database where datname = current_database()"
    assert await ask(postgres, query) == "C.UTF-8"


async def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host="127.0.0.1", port=postgres.port, user="telewarden", password="wrong", database="postgres"
        )


async def test_what_was_committed_survives_a_kill(postgres: EmbeddedPostgres) -> None:
    await ask(postgres, "create table kept as select 7 as number")
    pid, port = postgres.pid, postgres.port

    await postgres.kill()
    assert not postgres.running
    with pytest.raises(OSError):  # noqa: PT011
        await ask(postgres, "select 1")

    await postgres.restart()
    assert await ask(postgres, "select number from kept") == 7
    assert postgres.port == port
    assert postgres.pid != pid


async def test_a_kill_ends_its_other_processes_too(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    assert len(processes_in(tmp_path)) > 1
    await postgres.kill()
    assert processes_in(tmp_path) == []


async def test_a_restart_of_a_running_server_keeps_its_data(postgres: EmbeddedPostgres) -> None:
    await ask(postgres, "create table kept as select 7 as number")
    await postgres.restart()
    assert await ask(postgres, "select number from kept") == 7


async def test_a_suspended_server_answers_only_after_it_is_resumed(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    postgres.suspend()
    with pytest.raises(TimeoutError):
        await connection.fetchval("select 1", timeout=0.2)
    postgres.resume()
    assert await ask(postgres, "select 1") == 1
    connection.terminate()


async def test_a_suspended_server_can_be_killed_and_restarted(postgres: EmbeddedPostgres) -> None:
    postgres.suspend()
    await postgres.kill()
    await postgres.restart()
    assert await ask(postgres, "select 1") == 1


async def test_a_suspended_server_can_be_stopped(postgres: EmbeddedPostgres) -> None:
    postgres.suspend()
    await postgres.stop()
    assert not postgres.running


async def test_stopping_leaves_no_process_and_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    async with EmbeddedPostgres.start(folder) as server:
        await ask(server, "select 1")
        await server.stop()
        assert processes_in(tmp_path) == []
        await server.stop()  # once more does no harm
    assert not folder.exists()


async def test_an_error_in_the_context_stops_it_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ours"):
        async with EmbeddedPostgres.start(tmp_path / "postgres"):
            raise RuntimeError("ours")
    assert processes_in(tmp_path) == []


async def test_a_cancellation_stops_it_too(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with EmbeddedPostgres.start(tmp_path / "postgres"):
            scope.cancel()
            await anyio.sleep_forever()
    assert processes_in(tmp_path) == []


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    with anyio.move_on_after(0.2) as scope:
        async with EmbeddedPostgres.start(tmp_path / "postgres"):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    await nothing_runs_in(tmp_path)
    assert not (tmp_path / "postgres").exists()


async def test_data_is_kept_by_choice(tmp_path: Path) -> None:
    async with EmbeddedPostgres.start(tmp_path, keep=True) as server:
        await ask(server, "create table kept as select 7 as number")
        first = server.dsn
    async with EmbeddedPostgres.start(tmp_path, keep=True, port=server.port) as server:
        assert server.dsn == first
        assert await ask(server, "select number from kept") == 7


async def test_an_earlier_servers_data_is_not_thrown_away_by_mistake(tmp_path: Path) -> None:
    async with EmbeddedPostgres.start(tmp_path, keep=True):
        pass
    with pytest.raises(ServerFailed, match="keep=True"):
        async with EmbeddedPostgres.start(tmp_path):
            pass
    assert (tmp_path / "data" / "PG_VERSION").exists()


async def test_other_files_of_a_given_directory_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    async with EmbeddedPostgres.start(tmp_path):
        pass
    assert (tmp_path / "mine").exists()
    assert not (tmp_path / "data").exists()


async def test_data_and_password_are_for_its_user_alone(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {"postgres": 0o700, "data": 0o700, "password": 0o600, "postgres.log": 0o600}


async def test_why_it_did_not_start_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match='unrecognized configuration parameter "no_such_setting"'):
        async with EmbeddedPostgres.start(tmp_path, settings={"no_such_setting": "1"}):
            pass
    assert processes_in(tmp_path) == []


async def test_a_taken_port_is_told(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="Address already in use"):
        async with EmbeddedPostgres.start(tmp_path / "second", port=postgres.port):
            pass


async def test_kept_data_without_its_password_is_told(tmp_path: Path) -> None:
    async with EmbeddedPostgres.start(tmp_path, keep=True):
        pass
    (tmp_path / "password").unlink()
    with pytest.raises(ServerFailed, match="password of the data"):
        async with EmbeddedPostgres.start(tmp_path, keep=True):
            pass


async def test_a_password_that_would_need_quoting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="letters, digits"):
        async with EmbeddedPostgres.start(tmp_path, password="a b"):
            pass

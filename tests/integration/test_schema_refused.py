"""A daemon leaves a database alone that a newer version has upgraded, and waits for one that is older."""

import subprocess
from pathlib import Path

import anyio
import asyncpg
import pytest

from support.operator import command_of, environment
from support.stacks import stored
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import start_stack
from telewarden.storage.migrate import HEAD, stamp, upgrade

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_newer_schema_is_refused_at_the_start(tmp_path: Path) -> None:
    async with start_stack(tmp_path, channels=1) as stack:
        await upgrade(stack.postgres.dsn)
        connection = await asyncpg.connect(stack.postgres.dsn)
        await connection.execute("update telegram_gateway.schema_version set version_num = '0099'")
        await connection.close()
        command = command_of(stack.daemon.state_dir, "run", "--config", str(tmp_path / "telewarden.toml"))
        with anyio.fail_after(30):
            done = await anyio.run_process(command, check=False, env=environment(), stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert (
        f"schema 99, this version knows up to {HEAD}; use the version that upgraded it".encode()
        in done.stderr
    )


async def test_an_older_schema_is_told_and_intake_goes_on_until_it_is_upgraded(tmp_path: Path) -> None:
    settings = {"database": {"auto_migrate": False}}
    async with start_stack(tmp_path, channels=1, settings=settings) as stack:
        await upgrade(stack.postgres.dsn)
        async with daemon_running(stack):
            # The journal has learned from the database where its channels end; another version takes the schema back.
            await stack.control.post(stack.channel_ids[0], "before")
            await stored(stack, 1)
            stack.daemon.kill()
        await stamp(stack.postgres.dsn, HEAD - 1)
        stack.daemon.start()
        await stack.control.post(stack.channel_ids[0], "meanwhile")
        with anyio.fail_after(20):
            while "telewarden db upgrade" not in str(await stack.daemon.health()):
                await anyio.sleep(0.05)
        await stamp(stack.postgres.dsn, HEAD)
        await stored(stack, 2)
        await stack.daemon.stop()

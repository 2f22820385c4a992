"""`telewarden run --sandbox`: the daemon with an embedded database and cache, kept in the state folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio

from telewarden.configuration import SettingsInvalid, load
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.processes import ServerFailed
from telewarden.sandbox.valkey import EmbeddedValkey

_LOOK_S = 0.1


def run_with_servers(config: Path | None, overrides: tuple[str, ...]) -> int:
    """Start the servers, then the daemon as a child with the same settings; returns its exit status."""
    try:
        # Checked with a database that is surely well-formed: the real one does not exist yet.
        well_formed = {"TELEWARDEN_DATABASE__DSN": "postgresql://sandbox"}
        settings = load(config, overrides, {**os.environ, **well_formed}).settings
    except SettingsInvalid as invalid:
        print(f"telewarden: {invalid}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        return anyio.run(_run, settings.state_dir / "sandbox", config, overrides)
    except ServerFailed as error:
        print(f"telewarden: {error}", file=sys.stderr)  # noqa: T201
        return 1


async def _run(folder: Path, config: Path | None, overrides: tuple[str, ...]) -> int:
    async with (
        EmbeddedPostgres.start(folder / "postgres", keep=True) as postgres,
        EmbeddedValkey.start(folder / "valkey") as valkey,
    ):
        command = [sys.executable, "-m", "telewarden", "run"]
        command += [] if config is None else ["--config", str(config)]
        for override in (*overrides, "database.auto_migrate=true"):
            command += ["--set", override]
        # Passwords go where other users cannot look, unlike a command line.
        for setting, url in (("database.dsn", postgres.dsn), ("cache.url", valkey.url)):
            file = folder / setting
            file.touch(mode=0o600)
            file.write_text(url, encoding="ascii")
            command += ["--set", f"{setting}_file={file}"]
        # A session of its own: a signal that is sent to the whole group must not reach the child twice.
        child = subprocess.Popen(command, start_new_session=True)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with anyio.create_task_group() as tasks:

                async def pass_on() -> None:
                    async for number in signals:
                        child.send_signal(number)

                tasks.start_soon(pass_on)
                while child.poll() is None:
                    await anyio.sleep(_LOOK_S)
                tasks.cancel_scope.cancel()
        return int(child.returncode)

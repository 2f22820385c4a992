"""A whole Telewarden on this machine: embedded servers, a local Telegram and the daemon, each a process of its own."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from telewarden.sandbox.daemon import DaemonProcess, write_settings
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.sandbox.topology import Topology
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.sandbox.verdict import Id, Stored, Truth

CONSUMER = "tp-capital"
IDS_APART = 1_000_000
"""Message ids of two channels of the sandbox are that far apart: the old consumer acknowledges bare ids."""


@dataclass
class Stack:
    """The running parts. channel_ids: marked ids, as consumers write them. valkey: with a topology, its first node."""

    folder: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    telegram: LocalTelegram
    control: Control
    daemon: DaemonProcess
    channel_ids: tuple[int, ...]
    topology: Topology | None = None

    async def truth(self) -> dict[Id, Truth]:
        """Every message that Telegram has or had."""
        found = {}
        for channel_id in self.channel_ids:
            for message in await self.control.dump(channel_id):
                found[channel_id, message.message_id] = Truth(message.text, message.deleted)
        return found

    async def rows(self) -> list[tuple[Id, Stored]]:
        """Every row of the database."""
        connection = await asyncpg.connect(self.postgres.dsn, timeout=5)
        try:
            rows = await connection.fetch(
                "select channel_id, message_id, coalesce(text, caption) as text, status from telegram_gateway.messages"
            )
        finally:
            await connection.close()
        return [
            ((int(row["channel_id"]), row["message_id"]), Stored(row["text"], row["status"])) for row in rows
        ]


@asynccontextmanager
async def start_stack(
    folder: Path,
    *,
    channels: int = 3,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    topology: Topology | None = None,
) -> AsyncIterator[Stack]:
    """Start everything except the daemon, which is ready to be started; end everything with the context.

    settings: more settings for the daemon, by section. topology: the cache, running, in place of a single Valkey; who
    started it stops it.
    """
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres.start(folder / "postgres"))
        if topology is not None:
            valkey, cache = topology.nodes[0], topology.cache_settings
        else:
            valkey = await stack.enter_async_context(EmbeddedValkey.start(folder / "valkey"))
            cache = {"url": valkey.url}
        telegram = await stack.enter_async_context(
            LocalTelegram.start(folder / "telegram", channels=channels)
        )
        control = await stack.enter_async_context(Control.connect(telegram.control_path))
        session_file = folder / "state" / "telewarden.session"
        await telegram.sign_in(session_file)
        channel_ids = tuple(channel.channel_id for channel in await control.channels())
        port, api_key = free_port(), secrets.token_urlsafe(32)
        sections: dict[str, dict[str, object]] = {
            "telegram": {
                "api_id": 1,
                "api_hash": "0" * 32,
                "session_file": str(session_file),
                "dc_address": f"127.0.0.1:{telegram.port}",
                "dc_public_key_file": str(telegram.public_key_file),
                "channels": list(channel_ids),
            },
            "database": {"dsn": postgres.dsn, "auto_migrate": True},
            "cache": cache,
            "journal": {"file": str(folder / "state" / "journal.sqlite")},
            "http": {"port": port, "api_keys": {CONSUMER: api_key}},
            "log": {"format": "console"},
        }
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        settings_file = folder / "telewarden.toml"
        write_settings(settings_file, sections)
        daemon = DaemonProcess(
            settings_file,
            folder / "daemon.log",
            state_dir=folder / "state",
            url=f"http://127.0.0.1:{port}",
            api_key=api_key,
        )
        try:
            yield Stack(folder, postgres, valkey, telegram, control, daemon, channel_ids, topology)
        finally:
            daemon.kill()

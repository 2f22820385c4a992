"""What Telewarden needs around it, inside the booted container: servers, settings and secrets as README.md has them.

A service there: ready when all of it is.
"""

import secrets
import shutil
from pathlib import Path

import anyio
import msgspec

from telewarden.notify import Notifier
from telewarden.sandbox.daemon import write_settings
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.stack import CONSUMER
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.sandbox.valkey import EmbeddedValkey

FOLDER = Path("/run/servers")
FACTS = FOLDER / "facts.json"
SETTINGS = Path("/etc/telewarden/telewarden.toml")
CREDENTIALS = Path("/etc/telewarden/credentials")
STATE = Path("/var/lib/telewarden")
USER = "telewarden"


class Facts(msgspec.Struct, frozen=True):
    """What a test has to know. control: of the local Telegram; postmaster: process id, in the container."""

    port: int
    key: str
    channel: int
    control: str
    postmaster: int


async def serve() -> None:
    """Start all, write all down, and stay."""
    key = secrets.token_urlsafe(32)
    async with (
        EmbeddedPostgres.start(FOLDER / "postgres") as postgres,
        EmbeddedValkey.start(FOLDER / "valkey") as valkey,
        LocalTelegram.start(FOLDER / "telegram", channels=1) as telegram,
        Control.connect(telegram.control_path) as control,
    ):
        (channel,) = await control.channels()
        session = STATE / "telewarden.session"
        await telegram.sign_in(session)
        for path in (STATE, session):
            shutil.chown(path, USER, USER)
        public_key = SETTINGS.with_name("telegram.pem")
        shutil.copyfile(telegram.public_key_file, public_key)
        write_settings(
            SETTINGS,
            {
                "telegram": {
                    "api_id": 1,
                    "channels": [channel.channel_id],
                    "dc_address": f"127.0.0.1:{telegram.port}",
                    "dc_public_key_file": str(public_key),
                },
                "database": {"auto_migrate": True, "connect_timeout_s": 1.0},
                "http": {"port": 8080},
                "log": {"level": "info"},
                "testing": {"worker_faults": True},
            },
        )
        # No secret is among the settings, so they may be read by the service's user.
        for path in (SETTINGS, public_key):
            path.chmod(0o644)
        CREDENTIALS.mkdir(mode=0o700)
        for name, value in {
            "api_hash": "0" * 32,
            "dsn": postgres.dsn,
            "cache_url": valkey.url,
            "gateway_token": secrets.token_urlsafe(32),
            f"key-{CONSUMER}": key,
        }.items():
            (CREDENTIALS / name).write_text(value)
        facts = Facts(8080, key, channel.channel_id, str(telegram.control_path), postgres.pid)
        FACTS.write_bytes(msgspec.json.encode(facts))
        Notifier().ready("serving")
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve)

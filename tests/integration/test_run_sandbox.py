"""`telewarden run --sandbox`: the daemon with servers of its own, from the README's settings."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from telewarden.sandbox.daemon import write_settings
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
KEY = "0123456789abcdef"


async def until_served(port: int, channel: int, texts: list[str]) -> None:
    url = f"http://127.0.0.1:{port}/api/messages/unprocessed"
    async with httpx.AsyncClient(headers={"X-API-Key": KEY}, trust_env=False) as http:
        with anyio.fail_after(30):
            while True:
                try:
                    answer = await http.get(url, params={"channel": str(channel)})
                except httpx.HTTPError:
                    await anyio.sleep(0.05)
                    continue
                if [message["text"] for message in answer.json()["data"]] == texts:
                    return
                await anyio.sleep(0.05)


async def test_it_brings_its_own_servers_and_keeps_their_data(tmp_path: Path) -> None:
    port = free_port()
    async with (
        LocalTelegram.start(tmp_path / "telegram", channels=1) as telegram,
        Control.connect(telegram.control_path) as control,
    ):
        await telegram.sign_in(tmp_path / "state" / "telewarden.session")
        (channel,) = [facts.channel_id for facts in await control.channels()]
        client = telegram.client_settings(tmp_path)
        settings_file = tmp_path / "telewarden.toml"
        write_settings(
            settings_file,
            {
                "telegram": {
                    "api_id": 1,
                    "api_hash": "0" * 32,
                    "session_file": str(tmp_path / "state" / "telewarden.session"),
                    "dc_address": client.dc_address,
                    "dc_public_key_file": str(telegram.public_key_file),
                    "channels": [channel],
                },
                "database": {"dsn": "postgresql://sandbox"},
                "http": {"port": port, "api_keys": {"consumer": KEY}},
            },
        )
        command = [sys.executable, "-m", "telewarden", "run", "--sandbox", "--config", str(settings_file)]
        command += ["--set", f"state_dir={tmp_path / 'state'}"]
        texts: list[str] = []
        for text in ("first run", "second run"):
            with (
                (tmp_path / "log").open("ab") as log,
                subprocess.Popen(command, stdout=log, stderr=log) as daemon,
            ):
                try:
                    await until_served(port, channel, texts)
                    await until_connected(port)
                    texts.append(text)
                    await control.post(channel, text)
                    await until_served(port, channel, texts)
                finally:
                    daemon.send_signal(signal.SIGTERM)
                    with anyio.fail_after(20):
                        while daemon.poll() is None:
                            await anyio.sleep(0.02)
            assert daemon.returncode == 0, (tmp_path / "log").read_text()


async def until_connected(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with anyio.fail_after(30):
            while not (await http.get(f"http://127.0.0.1:{port}/health")).json()["telegram"]["connected"]:
                await anyio.sleep(0.05)

"""The local Telegram is not only what one client takes it for: kurigram shares no code with Telethon."""

import json
import sys
from pathlib import Path

import anyio
import pytest

from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
SCRIPT = Path(__file__).with_name("kurigram_client.py")


@pytest.mark.parametrize(
    ("password", "transport"), [(None, "TCPAbridged"), ("correct horse", "TCPIntermediatePadded")]
)
async def test_an_independent_client_signs_in_reads_history_and_receives_pushes(
    tmp_path: Path, password: str | None, transport: str
) -> None:
    async with (
        LocalTelegram.start(tmp_path / "telegram", channels=2, password=password) as telegram,
        Control.connect(telegram.control_path) as control,
    ):
        channels = sorted((facts.channel_id for facts in await control.channels()), reverse=True)
        await control.post_many(channels[0], [f"#{n}" for n in range(150)])
        options = telegram.options
        command = [sys.executable, str(SCRIPT), str(telegram.port), str(telegram.public_key_file)]
        command += [options.phone, options.code, password or "", str(tmp_path), transport]
        output, log = b"", b""
        with anyio.fail_after(60):
            async with await anyio.open_process(command) as client:
                assert client.stdout is not None
                assert client.stderr is not None
                async for chunk in client.stdout:
                    output += chunk
                    if output.startswith(b"ready"):
                        break
                if output:
                    done = await control.post(channels[1], "pushed")
                    await control.edit(channels[1], done.message_id, "pushed, then edited")
                    await control.delete(channels[0], [5, 6])
                    async for chunk in client.stdout:
                        output += chunk
                async for chunk in client.stderr:
                    log += chunk
                await client.wait()
    assert client.returncode == 0, log.decode()
    seen = json.loads(output.split(b"\n", 1)[1])
    assert seen["user"] == "Sandbox"
    assert seen["second_step"] is (password is not None)
    assert seen["channels"] == sorted(channels)
    assert seen["history"] == [f"#{n}" for n in reversed(range(150))]
    assert seen["posted"] in ("pushed", "pushed, then edited")
    assert seen["edited"] == "pushed, then edited"
    assert seen["deleted"] == [5, 6]

"""`telewarden sandbox telegram` as an operator runs it."""

import json
import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from telewarden.sandbox.telegram.control import Control
from telewarden.telegram.client import ClientSettings
from telewarden.telegram.login import sign_in

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
COMMAND = [sys.executable, "-c", "from telewarden.cli import main; main()", "sandbox", "telegram"]


async def test_its_first_line_is_all_that_a_client_needs_and_its_folder_goes_with_it(tmp_path: Path) -> None:
    options = ["--channels", "2", "--phone", "+15551234", "--code", "12345", "--password", "correct horse"]
    with anyio.fail_after(30):
        async with await anyio.open_process([*COMMAND, *options], stderr=None) as process:
            assert process.stdout is not None
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 10_000)
            facts = json.loads(line)
            folder = Path(facts["folder"])
            assert folder.stat().st_mode & 0o777 == 0o700
            settings = ClientSettings(
                tmp_path / "session" / "account.session",
                1,
                "0" * 32,
                dc_address=facts["dc_address"],
                dc_public_key_file=Path(facts["public_key_file"]),
            )
            await sign_in(settings, lambda: facts["phone"], lambda: facts["code"], lambda: "correct horse")
            async with Control.connect(Path(facts["control"])) as control:
                assert len(await control.channels()) == 2
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--folder", "/dev/null/below"], "cannot run: "),
        (["--password-file", "/nowhere"], "cannot run: "),
        (["--password", "a", "--password-file", "b"], "exclude each other"),
    ],
)
async def test_what_is_wrong_with_its_options_is_one_line(options: list[str], told: str) -> None:
    with anyio.fail_after(30):
        done = await anyio.run_process([*COMMAND, *options], check=False)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("telewarden: ")
    assert told in line


async def test_a_port_that_is_taken_is_one_line() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
        port = taken.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(30):
            done = await anyio.run_process([*COMMAND, "--port", str(port)], check=False)
    assert done.returncode == 2
    assert len(done.stderr.decode().splitlines()) == 1

"""The operator's commands against a running daemon: looking at its workers, and restarting one."""

import json
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.operator import WORKERS, telewarden
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A running daemon that replaced the socket of one that was killed."""
    async with start_stack(tmp_path_factory.mktemp("operator"), channels=1) as started:
        path = control_socket(started)
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
        started.daemon.start("--set", f"state_dir={path.parent}")
        await started.daemon.wait_ready()
        await until_served(path)
        yield started
        assert await started.daemon.stop() == 0
        assert not path.exists()
        assert "Traceback" not in started.daemon.log


def control_socket(stack: Stack) -> Path:
    return stack.folder / "state" / "control.sock"


async def until_served(path: Path) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                async with await anyio.connect_unix(path):
                    return
            except OSError:
                await anyio.sleep(0.01)


async def ask(stack: Stack, line: bytes) -> dict[str, object]:
    def talk() -> dict[str, object]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(control_socket(stack)))
            # The answer may come before all was sent.
            with suppress(BrokenPipeError):
                connection.sendall(line)
            with connection.makefile("rb") as lines:
                answer: dict[str, object] = json.loads(lines.readline())
        return answer

    return await anyio.to_thread.run_sync(talk)


async def tree(stack: Stack) -> dict[str, dict[str, object]]:
    shown = await telewarden(control_socket(stack).parent, "ps", "--json")
    assert shown.returncode == 0, shown.stderr

    def below(node: dict[str, Any]) -> Iterator[dict[str, object]]:
        for child in node["children"]:
            if child["children"]:
                yield from below(child)
            else:
                yield child

    return {str(worker["name"]): worker for worker in below(json.loads(shown.stdout))}


async def test_the_workers_are_shown_as_a_table_and_as_json(stack: Stack) -> None:
    workers = await tree(stack)
    assert workers.keys() == set(WORKERS)
    assert {worker["state"] for worker in workers.values()} == {"running"}
    assert str(workers["api"]["status"]).startswith("listening on 127.0.0.1")
    shown = await telewarden(control_socket(stack).parent, "ps")
    assert shown.returncode == 0
    for name in WORKERS:
        assert name in shown.stdout.decode()


async def test_a_restarted_worker_is_ready_when_the_command_returns(stack: Stack) -> None:
    before = await tree(stack)
    done = await telewarden(control_socket(stack).parent, "restart", "writer")
    assert done.returncode == 0, done.stderr
    assert b"writer is ready again, after " in done.stdout
    after = await tree(stack)
    assert after["writer"]["restarts"] == int(str(before["writer"]["restarts"])) + 1
    assert after["writer"]["state"] == "running"
    assert {name for name in WORKERS if after[name]["restarts"] != before[name]["restarts"]} == {"writer"}


async def test_an_unknown_worker_is_answered_with_those_there_are(stack: Stack) -> None:
    done = await telewarden(control_socket(stack).parent, "restart", "wirter")
    assert done.returncode == 1
    error = done.stderr.decode()
    assert "there is no worker 'wirter'; there are " in error
    for name in WORKERS:
        assert name in error


async def test_the_socket_does_not_restart_itself(stack: Stack) -> None:
    done = await telewarden(control_socket(stack).parent, "restart", "control")
    assert done.returncode == 1
    assert b"cannot be restarted by it" in done.stderr


async def test_only_its_owner_can_use_the_socket(stack: Stack) -> None:
    assert stat.S_IMODE(control_socket(stack).stat().st_mode) == 0o600


async def test_without_a_daemon_the_socket_is_named(tmp_path: Path) -> None:
    done = await telewarden(tmp_path, "ps")
    assert done.returncode == 1
    assert done.stderr.decode() == f"telewarden: no daemon runs: nothing listens on {tmp_path}/control.sock\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense\n", "that is no request"),
        (b'{"command": "fly"}\n', "that is no request"),
        (b"[]\n", "that is no request"),
        (b'{"command": "ps", "more": 1}\n', "that is no request"),
        (b"[" * 60_000 + b"\n", "that is no request"),
        (b"x" * 100_000, "at most 65536 bytes"),
    ],
)
async def test_what_is_no_request_is_answered_with_what_is_wrong(
    stack: Stack, line: bytes, told: str
) -> None:
    answer = await ask(stack, line)
    assert answer["ok"] is False
    assert told in str(answer["text"])
    assert (await ask(stack, b'{"command": "ps"}\n'))["ok"] is True


async def test_a_crowd_of_silent_clients_is_got_rid_of(stack: Stack) -> None:
    silent = [await anyio.connect_unix(control_socket(stack)) for _ in range(16)]
    assert "others are being served" in str((await ask(stack, b'{"command": "ps"}\n'))["text"])
    with anyio.fail_after(10):
        for client in silent:
            with pytest.raises(anyio.EndOfStream):
                await client.receive()
            await client.aclose()
    assert (await ask(stack, b'{"command": "ps"}\n'))["ok"] is True


async def test_a_path_that_no_socket_can_have_is_told_and_all_else_works(tmp_path: Path) -> None:
    state_dir = tmp_path / ("long" * 30)
    state_dir.mkdir()
    async with start_stack(tmp_path, channels=1) as started:
        started.daemon.start("--set", f"state_dir={state_dir}")
        await started.daemon.wait_ready()
        assert started.daemon.log.count("choose a shorter state_dir") == 1
        assert await started.daemon.stop() == 0
    done = await telewarden(state_dir, "ps")
    assert done.returncode == 1
    assert b"choose a shorter state_dir" in done.stderr

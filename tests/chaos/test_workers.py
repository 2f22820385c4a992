"""Each worker is restarted by the operator while messages come in and are consumed: nothing is lost."""

import json
from pathlib import Path

import anyio
import pytest

from telewarden.sandbox.exercise import Exercise, Fault
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.integration]

WORKERS = ("listener", "writer", "redis", "warmer", "api", "health")


async def test_every_worker_restarted_under_load_loses_nothing(tmp_path: Path) -> None:
    answers: dict[str, str] = {}

    async def restart_each(stack: Stack) -> None:
        for worker in WORKERS:
            posted = len(await stack.truth())
            with anyio.fail_after(10):
                while len(await stack.truth()) < posted + 10:
                    await anyio.sleep(0.01)
            answers[worker] = await restart(stack.folder / "state" / "control.sock", worker)

    async with start_stack(tmp_path, channels=2) as stack:
        stack.daemon.start("--set", f"state_dir={stack.folder / 'state'}")
        await stack.daemon.wait_ready()
        pid = stack.daemon.pid
        result = await Exercise(
            stack, seconds=8, rate=25, faults=[Fault("restarts", 0.1, restart_each, blind=True)]
        ).run()
        assert stack.daemon.pid == pid
        assert await stack.daemon.stop() == 0
    print(answers, result.errors, result.latency_ms)
    assert result.verdict.clean, "\n".join(result.verdict.lines())
    assert answers.keys() == set(WORKERS)
    for worker, answer in answers.items():
        assert answer.startswith(f"{worker} is ready again"), answer


async def restart(path: Path, worker: str) -> str:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(json.dumps({"command": "restart", "worker": worker}).encode() + b"\n")
        with anyio.fail_after(30):
            return str(json.loads(await stream.receive())["text"])

"""What an operator does with a running daemon: commands, and requests over its control socket."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

ANSWER_S = 30.0
COMMAND_S = 90.0

WORKERS = (
    "redis",
    "warmer",
    "writer",
    "channels",
    "keys",
    "feed",
    "api",
    "listener",
    "upkeep",
    "health",
    "loop-watch",
    "control",
    "jobs",
)
"""Every worker of a daemon with a cache."""


def command_of(state_dir: Path, *arguments: str) -> list[str]:
    """A command line for the daemon with that state folder."""
    return [sys.executable, "-m", "telewarden", *arguments, "--set", f"state_dir={state_dir}"]


def environment() -> dict[str, str]:
    """An operator's: none of the service's secrets, and room for wide tables."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TELEWARDEN_")} | {"COLUMNS": "200"}


async def telewarden(state_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end, whatever that is."""
    with anyio.fail_after(COMMAND_S):
        return await anyio.run_process(command_of(state_dir, *arguments), check=False, env=environment())


async def ask(state_dir: Path, **request: str) -> dict[str, Any]:
    """One request, one answer."""
    async with await anyio.connect_unix(state_dir / "control.sock") as stream:
        await stream.send(json.dumps(request).encode() + b"\n")
        with anyio.fail_after(ANSWER_S):
            answer: dict[str, Any] = json.loads(await stream.receive())
    return answer


async def channel_states(state_dir: Path) -> dict[int, str]:
    """How each channel is taken in, as `telewarden channels list` shows it."""
    request = json.dumps({"command": "channels", "about": {"action": "list"}})
    states: dict[int, str] = {}
    async with await anyio.connect_unix(state_dir / "control.sock") as stream:
        await stream.send(request.encode() + b"\n")
        lines = BufferedByteReceiveStream(stream)
        with anyio.fail_after(ANSWER_S):
            while True:
                answer = json.loads(await lines.receive_until(b"\n", 1024 * 1024))
                states |= {row["channel_id"]: row["state"] for row in answer.get("rows", ())}
                if answer.get("done"):
                    return states


async def workers(state_dir: Path) -> dict[str, dict[str, Any]]:
    """The nodes of the tree without children, by name."""
    return {str(node["name"]): node for node in leaves(await tree(state_dir))}


async def tree(state_dir: Path) -> dict[str, Any]:
    """What `telewarden ps` shows."""
    found: dict[str, Any] = (await ask(state_dir, command="ps"))["tree"]
    return found


def leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Below a node of the tree, as it is shown in JSON."""
    for child in tree["children"]:
        if child["children"]:
            yield from leaves(child)
        else:
            yield child

"""What an operator asks a running daemon over its control socket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

ANSWER_S = 30.0


async def ask(state_dir: Path, **request: str) -> dict[str, Any]:
    """One request, one answer."""
    async with await anyio.connect_unix(state_dir / "control.sock") as stream:
        await stream.send(json.dumps(request).encode() + b"\n")
        with anyio.fail_after(ANSWER_S):
            answer: dict[str, Any] = json.loads(await stream.receive())
    return answer


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

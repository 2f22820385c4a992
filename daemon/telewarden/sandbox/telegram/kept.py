"""What the local Telegram keeps on disk, so that it is the same after a restart, also after a SIGKILL.

Two private files in its folder: a log of what changed its channels, played again at the start, and its clients' keys.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from telewarden.sandbox.telegram.world import Change, Channel, World, check_text


class Kept:
    """The files of one server. log, keys: see above."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "world.jsonl"
        self._keys = folder / "keys.json"
        self._file: Any = None

    def play(self, world: World, change: Callable[[World, dict[str, Any]], object]) -> bool:
        """Bring a new world to where the last server left it. Returns whether there was anything.

        A last line that is cut off belongs to a change that was answered to nobody.
        """
        if not self._log.exists():
            return False
        for request in self._lines():
            world.now_s = request.pop("at")
            change(world, request)
        world.now_s = None
        return True

    def changed(self, request: dict[str, Any]) -> None:
        """A request changed the world. It is handed to the system before this returns."""
        if self._file is None:
            descriptor = os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._file.write(json.dumps({**request, "at": time.time()}).encode() + b"\n")

    def keep_keys(self, keys: dict[bytes, bytes], signed_in: set[bytes]) -> None:
        """Replace the keys' file."""
        kept = {
            "keys": {key_id.hex(): key.hex() for key_id, key in keys.items()},
            "signed_in": sorted(key_id.hex() for key_id in signed_in),
        }
        draft = self._keys.with_suffix(".draft")
        descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(kept, file)
        draft.replace(self._keys)

    def load_keys(self, keys: dict[bytes, bytes], signed_in: set[bytes]) -> None:
        """Take over what the last server kept."""
        if self._keys.exists():
            kept = json.loads(self._keys.read_text(encoding="ascii"))
            keys.update({bytes.fromhex(key_id): bytes.fromhex(key) for key_id, key in kept["keys"].items()})
            signed_in.update(bytes.fromhex(key_id) for key_id in kept["signed_in"])

    def _lines(self) -> Iterator[dict[str, Any]]:
        whole = self._log.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            os.truncate(self._log, len(complete))
        for line in complete.splitlines():
            yield json.loads(line)


def change_world(world: World, request: dict[str, Any]) -> tuple[Channel, list[Change], list[Change]]:
    """Do what a request of the control socket wants of the channels.

    Returns the channel, what changed in it, and what changed in its discussion group by that. Raises WorldError,
    KeyError, TypeError.
    """
    channel, changes = _change(world, request)
    return channel, changes, world.forward_to_discussion(channel, changes)


def _change(world: World, request: dict[str, Any]) -> tuple[Channel, list[Change]]:
    match request["op"]:
        case "post":
            channel = channel_of(world, request)
            options = {name: request.get(name) for name in POST_OPTIONS}
            change = world.post(
                channel, text(request["text"]), hidden=bool(request.get("hidden", False)), **options
            )
            return channel, [change]
        case "post_many":
            channel = channel_of(world, request)
            texts = [text(each) for each in a_list(request, "texts")]
            # All or none: what is refused is not in the log, and must not be in the channel.
            for each in texts:
                check_text(each)
            return channel, [world.post(channel, each) for each in texts]
        case "edit":
            channel = channel_of(world, request)
            return channel, [world.edit(channel, number(request["message_id"]), text(request["text"]))]
        case "delete":
            channel = channel_of(world, request)
            ids = [number(each) for each in a_list(request, "message_ids")]
            return channel, [world.delete(channel, ids)]
        case "channel_create":
            choices = {name: request[name] for name in CHANNEL_OPTIONS if name in request}
            return world.create(text(request["title"]), **choices), []
        case "channel_access":
            channel = channel_of(world, request)
            channel.accessible = bool(request["accessible"])
            return channel, []
        case "channel_link":
            channel = channel_of(world, request)
            world.link(channel, world.find(number(request["group"])))
            return channel, []
        case "channel_join":
            channel = channel_of(world, request)
            channel.joined = True
            return channel, []
        case op:
            raise ValueError(f"{op!r} changes no channel")


POST_OPTIONS = ("media", "message_id", "reply_to", "thread", "topic", "grouped_id")
CHANNEL_OPTIONS = ("username", "invite", "joined", "megagroup")
CHANGES = (
    "post",
    "post_many",
    "edit",
    "delete",
    "channel_create",
    "channel_access",
    "channel_link",
    "channel_join",
)
"""What `change_world` knows."""


def channel_of(world: World, request: dict[str, Any]) -> Channel:
    """The channel that a request names."""
    return world.find(number(request["channel"]))


def number(value: Any) -> int:
    """A whole number. Raises TypeError."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def text(value: Any) -> str:
    """A text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def a_list(request: dict[str, Any], name: str) -> list[Any]:
    """A list. Raises TypeError."""
    if not isinstance(request[name], list):
        raise TypeError(f"{name} has to be a list")
    return list(request[name])

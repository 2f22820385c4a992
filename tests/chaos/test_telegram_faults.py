"""Every way in which Telegram goes wrong, at every moment of everything that can happen to a post: nothing is lost.

A part of the cases in `make test`; all of them in `make chaos ARGS="--suite telegram"`, which writes the table of
results to docs/telegram-faults.md.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import anyio
import pytest

from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.faults import GARBAGE
from telewarden.sandbox.telegram.media import KINDS
from telewarden.sandbox.verdict import Stored, Truth

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.chaos,
    pytest.mark.integration,
    pytest.mark.suite("telegram"),
    pytest.mark.timeout(1800),
]

SETTINGS = {
    # A black hole is noticed in 3 s here, in 30 s by default.
    "telegram": {
        "request_timeout_s": 2.0,
        "liveness_interval_s": 1.0,
        "reconcile_interval_s": 5.0,
        # Posts that appear with the lowest id of all are found where they are still among those that are compared.
        "recheck_window": 600,
        # Hundreds of channels at once: their watching and comparing must not be what a case waits for.
        "requests_per_s": 100.0,
    }
}
SETTLE_S = 60.0
BURST = 500
TABLE = Path(__file__).parents[2] / "docs" / "telegram-faults.md"

Step = Callable[[Control, int], Awaitable[object]]


async def nothing(control: Control, channel: int) -> None:
    """A fault that ends by itself."""


async def clear(control: Control, channel: int) -> None:
    await control.clear()


@dataclass(frozen=True)
class TelegramFault:
    """begin, end: what starts and ends it. held_s: how long it lasts in between; 0 for one that ends by itself."""

    begin: Step
    end: Step = clear
    held_s: float = 0.0
    restarts: bool = False


def inject(name: str, *, held_s: float = 0.0, **values: object) -> TelegramFault:
    async def begin(control: Control, channel: int) -> None:
        given = {key: channel if value == "channel" else value for key, value in values.items()}
        await control.fault(name, **given)

    return TelegramFault(begin, held_s=held_s)


def both(*faults: TelegramFault) -> TelegramFault:
    async def begin(control: Control, channel: int) -> None:
        for fault in faults:
            await fault.begin(control, channel)

    return TelegramFault(
        begin,
        held_s=max(fault.held_s for fault in faults),
        restarts=any(fault.restarts for fault in faults),
    )


# Pushes fail, so that what the fault hits is needed.
missed = inject("swallow", pushes=3)
untold = both(missed, inject("too_long", channel="channel"))


def flood(method: str) -> TelegramFault:
    return inject("flood_wait", method=method, seconds=3, times=2)


def error(method: str, code: int, message: str) -> TelegramFault:
    return inject("rpc_error", method=method, code=code, message=message, times=2)


async def close_channel(control: Control, channel: int) -> None:
    await control.ask("channel_access", channel=channel, accessible=False)


async def open_channel(control: Control, channel: int) -> None:
    await control.ask("channel_access", channel=channel, accessible=True)


async def unreadable(control: Control, channel: int) -> None:
    """A post of a later layer than the client's: it, and what it comes in, cannot be read."""
    await control.post(channel, "of a later layer", media="unreadable")


async def low_id(control: Control, channel: int) -> None:
    """A post with an id below the others', pushed as new."""
    await control.post(channel, "appears late", message_id=await free_low_id(control, channel))


async def low_id_unpushed(control: Control, channel: int) -> None:
    await control.fault("swallow", pushes=1)
    await low_id(control, channel)


async def low_id_untold(control: Control, channel: int) -> None:
    """Only history shows it, beside something that counts as a change."""
    await control.post(
        channel, "appears late, untold", message_id=await free_low_id(control, channel), hidden=True
    )
    await control.post(channel, "and this is told")


async def hidden_post(control: Control, channel: int) -> None:
    """Only comparing finds it: it counts as no change, and nothing else happens."""
    await control.post(
        channel, "in history alone", message_id=await free_low_id(control, channel), hidden=True
    )


async def every_kind(control: Control, channel: int) -> None:
    """One post of every kind, an album, and a reply; the first three are not pushed."""
    await control.fault("swallow", pushes=3)
    for kind in KINDS:
        await control.post(channel, f"a {kind}", media=kind)
    for number in range(3):
        await control.post(channel, f"album {number}", media="photo", grouped_id=77)
    album = await control.post(channel, "a post to answer")
    await control.post(channel, "the answer", reply_to=album.message_id)


async def comments(control: Control, channel: int) -> None:
    """The channel becomes another's discussion group; a post is forwarded there, and commented on."""
    home = await control.create_channel("Home of a discussion")
    await control.link(home.channel_id, channel)
    await control.fault("swallow", pushes=3)
    await control.post(home.channel_id, "a post that is discussed")
    thread = max(message.message_id for message in await control.dump(channel))
    comment = await control.post(channel, "a comment", reply_to=thread)
    for number in range(3):
        await control.post(channel, f"answer {number}", reply_to=comment.message_id, thread=thread)


async def free_low_id(control: Control, channel: int) -> int:
    """One below the lowest that was ever there."""
    return min(message.message_id for message in await control.dump(channel)) - 1


async def unreadable_unpushed(control: Control, channel: int) -> None:
    await control.fault("swallow", pushes=1)
    await unreadable(control, channel)


FAULTS = {
    "connection dropped": inject("drop"),
    "connection reset": inject("drop", reset=True),
    "connections refused": both(inject("refuse", held_s=1.5), inject("drop")),
    "black hole": inject("black_hole", held_s=5.0),
    "pushes late": inject("delay", seconds=1.0, held_s=1.5),
    "pushes doubled": inject("duplicate", pushes=5),
    "pushes reordered": inject("reorder"),
    "pushes swallowed": inject("swallow", pushes=3),
    "all pushes swallowed": inject("swallow", pushes=1_000_000),
    "no pushes until asked": inject("withhold", channel="channel"),
    "flood wait: history": both(untold, flood("messages.getHistory")),
    "flood wait: difference": both(missed, flood("updates.getChannelDifference")),
    "flood wait: dialogs, reconnect": both(flood("messages.getDialogs"), inject("drop")),
    "flood wait: state": flood("updates.getState"),
    "error 500: difference": both(
        missed, error("updates.getChannelDifference", 500, "INTERNAL_SERVER_ERROR")
    ),
    "error 500: history": both(untold, error("messages.getHistory", 500, "INTERNAL_SERVER_ERROR")),
    "error -503: difference": both(missed, error("updates.getChannelDifference", -503, "Timeout")),
    "difference too long": untold,
    "difference too long, reconnect": both(untold, inject("drop")),
    "pushes only announced": inject("announce", channel="channel"),
    "never pushed": inject("never_push", channel="channel"),
    "flood wait: this channel's history": both(
        untold, inject("flood_wait", method="messages.getHistory", seconds=3, channel="channel", times=2)
    ),
    "flood wait: this channel's difference": both(
        missed,
        inject("flood_wait", method="updates.getChannelDifference", seconds=3, channel="channel", times=2),
    ),
    "slow history": both(untold, inject("slow", method="messages.getHistory", seconds=1.0)),
    "unreadable post, pushed": TelegramFault(unreadable),
    "unreadable post, in a difference": TelegramFault(unreadable_unpushed),
    "unreadable post, reconnect": both(TelegramFault(unreadable_unpushed), inject("drop")),
    "Telegram killed and restarted": TelegramFault(clear, restarts=True),
    "pushes swallowed, Telegram restarted": replace(missed, restarts=True),
    "post with a low id": TelegramFault(low_id),
    "post with a low id, in a difference": TelegramFault(low_id_unpushed),
    "post with a low id, in history alone": TelegramFault(low_id_untold),
    "post in history alone, and nothing else": TelegramFault(hidden_post),
    "posts of every kind, an album, a reply": TelegramFault(every_kind),
    "comments in a linked group": TelegramFault(comments),
    "key used twice (406)": both(
        inject("rpc_error", method="updates.getState", code=406, message="AUTH_KEY_DUPLICATED"),
        inject("drop"),
    ),
    **{f"garbage: {kind}": inject("garbage", kind=kind) for kind in GARBAGE},
    "channel closed for a while": TelegramFault(close_channel, open_channel, held_s=1.5),
}
"""What goes wrong, by its name in the table."""


async def post(control: Control, channel: int, ids: tuple[int, ...]) -> None:
    for number in range(3):
        await control.post(channel, f"posted {number}")


async def edit(control: Control, channel: int, ids: tuple[int, ...]) -> None:
    for message_id in ids:
        await control.edit(channel, message_id, f"edited {message_id}")


async def delete(control: Control, channel: int, ids: tuple[int, ...]) -> None:
    await control.delete(channel, ids)


async def burst(control: Control, channel: int, ids: tuple[int, ...]) -> None:
    for packet in range(BURST // 2 // 20):
        await control.post_many(channel, [f"burst {packet}:{n}" for n in range(20)])


ACTIONS = {"post": post, "edit": edit, "delete": delete, "burst of 500": burst}
MOMENTS = ("before", "during", "after")
ALL = list(product(FAULTS, ACTIONS, MOMENTS))
SOME = [(fault, list(ACTIONS)[n % len(ACTIONS)], MOMENTS[n % len(MOMENTS)]) for n, fault in enumerate(FAULTS)]
"""Each fault once, the actions and moments in turn."""


@asynccontextmanager
async def one_daemon(folder: Path, cases: int) -> AsyncIterator[Stack]:
    """One daemon for all cases, as in life; a channel for each."""
    async with start_stack(folder, channels=cases, settings=SETTINGS) as stack, daemon_running(stack):
        yield stack


async def run_case(stack: Stack, channel: int, fault: TelegramFault, action: str, moment: str) -> float:
    """Returns how many seconds after the end of everything the database agreed with Telegram."""
    control, act = stack.control, ACTIONS[action]
    ids = (await control.post_many(channel, [f"there before {n}" for n in range(6)])).message_ids
    await until_equal(stack, channel)
    if moment == "during":
        await act(control, channel, ids[:3])
    if fault.restarts:
        await stack.telegram.kill()
        await stack.telegram.restart()
        await control.reconnect()
    await fault.begin(control, channel)
    if moment != "after":
        await act(control, channel, ids[3:])
    await anyio.sleep(fault.held_s)
    if fault.held_s or moment == "after":
        await fault.end(control, channel)
    if moment == "after":
        await act(control, channel, ids)
    began_s = time.monotonic()
    await until_equal(stack, channel)
    await control.clear()
    return time.monotonic() - began_s


async def until_equal(stack: Stack, channel: int) -> None:
    """Until the database has what Telegram has, id by id, and nothing else."""
    differences: list[str] = []
    try:
        with anyio.fail_after(SETTLE_S):
            while differences := await differences_of(stack, channel):
                await anyio.sleep(0.05)
    except TimeoutError:
        log = stack.daemon.log_end(30)
        raise AssertionError("\n".join([*differences[:20], log])) from None


async def differences_of(stack: Stack, channel: int) -> list[str]:
    truth = {m.message_id: Truth(m.text, m.deleted) for m in await stack.control.dump(channel)}
    stored: dict[int, Stored] = {}
    found = []
    for (channel_id, message_id), row in await stack.rows():
        if channel_id != channel:
            continue
        if message_id in stored:
            found.append(f"{message_id} is doubled")
        stored[message_id] = row
    found += [f"{message_id} is not on Telegram" for message_id in stored.keys() - truth.keys()]
    for message_id, message in truth.items():
        row_ = stored.get(message_id)
        if row_ is None:
            found.append(f"{message_id} is missing")
        elif message.deleted != (row_.status == "deleted"):
            found.append(f"{message_id}: deleted on Telegram: {message.deleted}, here {row_.status}")
        elif message.text != row_.text and not (message.text == "of a later layer" and row_.text is None):
            found.append(f"{message_id}: {message.text!r} on Telegram, {row_.text!r} here")
    return found


async def test_nothing_is_lost_doubled_or_stale(tmp_path: Path, whole: bool) -> None:
    took_s: dict[tuple[str, str, str], float] = {}
    cases = ALL if whole else SOME
    async with one_daemon(tmp_path, len(cases)) as stack:
        for (fault, action, moment), channel in zip(cases, stack.channel_ids, strict=True):
            try:
                took_s[fault, action, moment] = await run_case(stack, channel, FAULTS[fault], action, moment)
            except BaseException:
                print("the case was:", fault, action, moment)
                raise
            print(fault, action, moment, f"{took_s[fault, action, moment]:.2f} s", sep=" · ")
        health = await stack.daemon.health() or {}
        assert health["status"] == "healthy"
        workers = health["workers"]
        assert isinstance(workers, dict)
        assert {name: worker["restarts"] for name, worker in workers.items()} == dict.fromkeys(workers, 0)
        # Once more, for all: a later fault must not have harmed what an earlier one left.
        for channel in stack.channel_ids:
            assert not await differences_of(stack, channel)
    if whole:
        TABLE.write_text(table(took_s), encoding="utf-8")


def table(took_s: dict[tuple[str, str, str], float]) -> str:
    """The page of results."""
    lines = [
        "# What was tried against Telegram's faults",
        "",
        'Written by `make chaos ARGS="--suite telegram"`. In each case the database ended equal to Telegram, id by',
        "id, with nothing doubled. The figures are the seconds that took after the last thing happened; *before*,",
        "*during*, *after*: the fault began before, between or after what happened to the posts.",
        "",
        "| fault | " + " | ".join(f"{action}, {moment}" for action in ACTIONS for moment in MOMENTS) + " |",
        "|---" * (1 + len(ACTIONS) * len(MOMENTS)) + "|",
    ]
    for fault in FAULTS:
        cells = [f"{took_s[fault, action, moment]:.1f}" for action in ACTIONS for moment in MOMENTS]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

"""Whatever the server sends: the connection is given up, the next one works, and memory stays bounded."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from sandbox_telegram.local import World, gather, texts
from telewarden.sandbox.telegram.faults import GARBAGE
from telewarden.telegram.feed import TelegramUnavailable
from telewarden.telegram.transport import INFLATED_BYTES, TooMuch, inflate

GROWTH_MB = 200
TIMES = 10


def peak_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the system tells no peak")


@contextmanager
def bounded_memory() -> Iterator[None]:
    """This process, which holds the client and not the server, grows by so much at most, also in between."""
    # Sets the peak to what is in use now: proc(5).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_mb()
    yield
    assert peak_mb() - before < GROWTH_MB


@pytest.mark.anyio
@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_again_and_again_is_survived_in_bounded_memory(world: World, kind: str) -> None:
    channel_id = await world.channel()
    with bounded_memory():
        for _ in range(TIMES):
            with anyio.fail_after(30):
                async with world.feed(timeout_s=1.0) as feed:
                    await world.control.fault("garbage", kind=kind)
                    try:
                        await feed.probe()
                    except TelegramUnavailable:
                        continue
    async with world.feed() as feed:
        await world.control.post(channel_id, "after all that")
        assert texts(await gather(feed, 1)) == ["after all that"]


def test_what_unpacks_to_too_much_is_refused_before_it_is_held() -> None:
    packed = gzip.compress(bytes(INFLATED_BYTES + 1))
    with bounded_memory(), pytest.raises(TooMuch, match="bound"):
        inflate(packed)
    assert inflate(gzip.compress(bytes(INFLATED_BYTES))) == bytes(INFLATED_BYTES)


@pytest.mark.parametrize("data", [b"", b"no gzip at all", gzip.compress(b"cut off", mtime=0)[:-9]])
def test_what_cannot_be_unpacked_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed"):
        inflate(data)

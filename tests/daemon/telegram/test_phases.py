"""The time-outs of the phases, without any connection."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio.testing

from telewarden.telegram.feed import TelegramUnavailable
from telewarden.telegram.phases import Phase, Phases, PhaseTimeouts

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def limited(phases: Phases, phase: Phase, does: Callable[[], Awaitable[object]]) -> None:
    with phases.limited():
        phases.enter(phase)
        await does()


async def test_two_that_overlap_each_end_in_their_own_time() -> None:
    phases = Phases(PhaseTimeouts(dialogs_s=5.0))
    ended_s: list[float] = []

    async def ask(begin_s: float) -> None:
        await anyio.sleep(begin_s)
        with pytest.raises(TelegramUnavailable, match="not within 5 s"):
            await limited(phases, Phase.DIALOGS, anyio.sleep_forever)
        ended_s.append(anyio.current_time() - began_s)

    began_s = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 0.0)
        tasks.start_soon(ask, 2.0)
    assert ended_s == pytest.approx([5.0, 7.0])


async def test_an_error_within_a_phase_names_it_and_its_cause() -> None:
    async def refused() -> None:
        raise ConnectionRefusedError("refused")

    phases = Phases(PhaseTimeouts())
    phases.address = "127.0.0.1:443"
    with pytest.raises(TelegramUnavailable, match=r"127\.0\.0\.1:443.*TCP.*refused") as raised:
        await limited(phases, Phase.TCP, refused)
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)

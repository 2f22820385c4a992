"""Which channels are taken in: the settings' own, and what operators said while the daemon ran."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from telewarden.channels import ChannelRefused, ChannelSet, Intake, check_start, date_of
from telewarden.storage.journal import Journal, open_journal

pytestmark = pytest.mark.anyio
NEWS, SIGNALS, EXTRA = -1001, -1002, -1003


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        yield journal


async def test_an_added_channel_is_served_and_taken_in_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        channels = ChannelSet(journal, [NEWS])
        served = channels.served
        assert await channels.add(EXTRA, "Extra", "50")
        assert not await channels.add(EXTRA, "Extra", "all"), "it is there already"
        assert list(served) == [NEWS, EXTRA]
    async with open_journal(path) as journal:
        channels = ChannelSet(journal, [NEWS])
        assert list(channels.taken_in) == [NEWS, EXTRA]
        assert (channels.start_of(EXTRA), channels.start_of(NEWS)) == (50, "now")
        assert channels.name_of(EXTRA) == "Extra"


async def test_a_paused_channel_is_served_and_not_taken_in(journal: Journal) -> None:
    channels = ChannelSet(journal, [NEWS, SIGNALS])
    await channels.pause(NEWS, paused=True)
    assert (list(channels.served), list(channels.taken_in)) == ([NEWS, SIGNALS], [SIGNALS])
    assert channels.intake_of(NEWS) is Intake.PAUSED
    # Also with the settings read again, and by the next daemon.
    assert list(ChannelSet(journal, [NEWS, SIGNALS]).taken_in) == [SIGNALS]
    await channels.pause(NEWS, paused=False)
    assert list(channels.taken_in) == [NEWS, SIGNALS]
    assert journal.registered == {}


async def test_a_removed_channel_is_gone_and_one_of_the_settings_cannot_be(journal: Journal) -> None:
    channels = ChannelSet(journal, [NEWS])
    await channels.add(EXTRA, "Extra", "now")
    await channels.pause(EXTRA, paused=True)
    await channels.remove(EXTRA)
    assert EXTRA not in channels.served
    with pytest.raises(ChannelRefused, match=r"telegram\.channels"):
        await channels.remove(NEWS)
    with pytest.raises(ChannelRefused, match="channels list"):
        await channels.remove(EXTRA)
    with pytest.raises(ChannelRefused, match="channels list"):
        await channels.pause(EXTRA, paused=True)


async def test_who_waits_for_a_change_is_woken_by_each_and_by_no_repetition(journal: Journal) -> None:
    channels = ChannelSet(journal, [NEWS])
    seen = channels.version
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channels.changed.wait_until, lambda: channels.version > seen)
        await channels.add(EXTRA, "Extra", "now")
    seen = channels.version
    await channels.pause(EXTRA, paused=False)
    channels.configure([NEWS])
    assert channels.version == seen
    channels.configure([NEWS, SIGNALS])
    assert channels.version == seen + 1
    assert list(channels.served) == [NEWS, SIGNALS, EXTRA]


@pytest.mark.parametrize("start", ["now", " ALL ", "50", "2026-01-31", "2026-01-31T10:00:00"])
def test_starts_that_are_understood(start: str) -> None:
    assert check_start(start) == start.strip().lower()


@pytest.mark.parametrize("start", ["", "soon", "0", "-5", "31.01.2026", "99999999"])
def test_starts_that_are_none(start: str) -> None:
    with pytest.raises(ChannelRefused, match="2026-01-31"):
        check_start(start)


def test_a_date_is_in_utc_unless_it_says_otherwise() -> None:
    assert date_of("2026-01-31") == 1769817600
    assert date_of("2026-01-31T00:00:00-03:00") == 1769817600 + 3 * 3600

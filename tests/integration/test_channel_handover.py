"""How channels that operators change over HTTP meet those that the process takes in: parts, on a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from support.servers import Servers
from telewarden.channel_handover import ChannelHandover
from telewarden.channels import ChannelSet
from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.database import open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden_http.gateway_protocols import ChannelChange, ChannelConflict, ChannelEntry, NewChannel

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
NEWS, SIGNALS, EXTRA, OTHER = -1001000000001, -1001000000002, -1001000000003, -1001000000004


@dataclass
class Meeting:
    """The process that takes in, and the database."""

    channels: ChannelSet
    table: ChannelTable
    handover: ChannelHandover
    dsn: str
    lost: list[str] = field(default_factory=list)

    async def rows(self) -> dict[int, ChannelEntry]:
        return {entry.channel_id: entry for entry in await self.table.channels()}

    async def active(self) -> set[int]:
        return {entry.channel_id for entry in await self.table.channels() if entry.is_active}

    async def run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        yield journal


@pytest.fixture
async def meeting(servers: Servers, journal: Journal) -> AsyncIterator[Meeting]:
    async with open_database(servers.dsn, auto_migrate=True) as database:
        channels, table = ChannelSet(journal, [NEWS]), ChannelTable(database)
        lost: list[str] = []
        handover = ChannelHandover(channels, table, lost.append)
        yield Meeting(channels, table, handover, servers.dsn, lost)


async def test_what_is_taken_in_is_written_down(meeting: Meeting) -> None:
    await meeting.channels.add(SIGNALS, "Signals", "now")
    was_behind = meeting.handover.is_behind
    await meeting.handover.meet()
    assert (was_behind, meeting.handover.is_behind) == (True, False)
    rows = await meeting.rows()
    assert {channel_id: entry.label for channel_id, entry in rows.items()} == {NEWS: None, SIGNALS: "Signals"}
    await meeting.channels.pause(NEWS, paused=True)
    await meeting.handover.meet()
    assert await meeting.active() == {SIGNALS}
    assert sorted(await meeting.table.served()) == sorted([NEWS, SIGNALS]), "a paused one may be polled"
    await meeting.channels.remove(SIGNALS)
    await meeting.handover.meet()
    assert await meeting.active() == set()
    assert list(await meeting.table.served()) == [NEWS]
    assert set(await meeting.rows()) == {NEWS, SIGNALS}, "it is known, and not taken in"


async def test_a_wish_is_carried_out_once_and_never_undone(meeting: Meeting) -> None:
    await meeting.handover.meet()
    created = await meeting.table.create(NewChannel(EXTRA, "Extra", "a description"))
    # The process that takes in writes down a change of its own before it has looked at wishes.
    await meeting.channels.pause(NEWS, paused=True)
    await meeting.table.settle([], {})
    assert EXTRA in await meeting.active(), "an open wish stays"
    assert list(await meeting.table.served()) == [EXTRA]
    await meeting.handover.meet()
    assert list(meeting.channels.taken_in) == [EXTRA]
    assert meeting.lost == [f"channel {EXTRA} was added"]
    assert await meeting.table.wishes() == []
    assert (await meeting.rows())[EXTRA] == created, "label and description are kept"
    await meeting.handover.meet()
    assert len(meeting.lost) == 1


async def test_of_two_wishes_the_later_one_counts_also_if_it_comes_while_the_first_is_carried_out(
    meeting: Meeting,
) -> None:
    await meeting.handover.meet()
    created = await meeting.table.create(NewChannel(EXTRA))
    earlier = await meeting.table.wishes()
    await meeting.table.change(created.id, ChannelChange(is_active=False))
    await meeting.table.settle(earlier, {})
    (wish,) = await meeting.table.wishes()
    assert (wish.channel_id, wish.wanted.value) == (EXTRA, "paused")
    assert EXTRA not in await meeting.active()


async def test_pausing_what_was_never_taken_in_changes_nothing(meeting: Meeting) -> None:
    created = await meeting.table.create(NewChannel(EXTRA, is_active=False))
    await meeting.table.change(created.id, ChannelChange(is_active=False))
    await meeting.handover.meet()
    assert EXTRA not in meeting.channels.served
    await meeting.table.change(created.id, ChannelChange(is_active=True))
    await meeting.handover.meet()
    assert EXTRA in meeting.channels.taken_in


async def test_a_removed_channel_is_gone_and_comes_back_as_a_new_row(meeting: Meeting) -> None:
    created = await meeting.table.create(NewChannel(EXTRA))
    await meeting.handover.meet()
    assert await meeting.table.remove(created.id) == created
    assert EXTRA not in await meeting.table.served(), "at once"
    assert EXTRA in meeting.channels.served
    await meeting.handover.meet()
    assert EXTRA not in meeting.channels.served
    assert EXTRA not in await meeting.rows()
    assert await meeting.table.remove(created.id) is None
    again = await meeting.table.create(NewChannel(EXTRA))
    assert again.id != created.id
    await meeting.handover.meet()
    assert EXTRA in meeting.channels.taken_in


async def test_a_channel_of_the_settings_is_not_removed_also_if_they_name_it_a_moment_later(
    meeting: Meeting,
) -> None:
    await meeting.handover.meet()
    with pytest.raises(ChannelConflict, match=r"telegram\.channels"):
        await meeting.table.remove((await meeting.rows())[NEWS].id)
    created = await meeting.table.create(NewChannel(EXTRA))
    await meeting.handover.meet()
    await meeting.table.remove(created.id)
    meeting.channels.configure([NEWS, EXTRA])
    await meeting.handover.meet()
    assert EXTRA in await meeting.active(), "the settings have it"
    assert await meeting.table.wishes() == []


async def test_what_an_old_gateway_left_is_known_and_not_taken_in(meeting: Meeting) -> None:
    await meeting.table.channels()
    await meeting.run(
        f"insert into telegram_gateway.channels (channel_id, label, description) values ({EXTRA}, 'Old', 'kept')"
    )
    await meeting.handover.meet()
    entry = (await meeting.rows())[EXTRA]
    assert (entry.label, entry.description, entry.is_active) == ("Old", "kept", False)
    await meeting.table.change(entry.id, ChannelChange(is_active=True))
    await meeting.handover.meet()
    assert EXTRA in meeting.channels.taken_in
    assert EXTRA in await meeting.active()


async def test_channels_that_were_added_outlast_the_journal(meeting: Meeting, tmp_path: Path) -> None:
    await meeting.table.create(NewChannel(EXTRA, "Extra"))
    await meeting.handover.meet()
    await meeting.channels.add(SIGNALS, "Signals", "now")
    await meeting.channels.pause(SIGNALS, paused=True)
    removed = await meeting.table.create(NewChannel(OTHER))
    await meeting.handover.meet()
    await meeting.table.remove(removed.id)
    async with open_journal(tmp_path / "a new one.sqlite") as journal:
        channels = ChannelSet(journal, [NEWS])
        await ChannelHandover(channels, meeting.table).meet()
        assert set(channels.taken_in) == {NEWS, EXTRA}
        assert set(channels.served) == {NEWS, EXTRA, SIGNALS}
        # Now it knows them, and what is removed stays away, also if that could not be written down.
        await channels.remove(EXTRA)
        await ChannelHandover(channels, meeting.table).meet()
        assert set(channels.served) == {NEWS, SIGNALS}


async def test_a_start_that_was_cut_short_forgets_no_channel_that_was_added(
    meeting: Meeting, tmp_path: Path
) -> None:
    await meeting.channels.add(SIGNALS, "Signals", "now")
    await meeting.channels.add(EXTRA, "Extra", "now")
    await meeting.channels.pause(EXTRA, paused=True)
    await meeting.handover.meet()
    async with open_journal(tmp_path / "new.sqlite") as journal:
        # What the start that was cut short had come to.
        await ChannelSet(journal, [NEWS]).add(SIGNALS, "Signals", "now")
        channels = ChannelSet(journal, [NEWS])
        await ChannelHandover(channels, meeting.table).meet()
        assert (set(channels.served), set(channels.taken_in)) == ({NEWS, SIGNALS, EXTRA}, {NEWS, SIGNALS})


async def test_the_role_of_the_daemon_may_do_all_of_it(meeting: Meeting) -> None:
    await meeting.handover.meet()
    as_daemon = meeting.dsn + ("&" if "?" in meeting.dsn else "?") + "role=telegram"
    async with open_database(as_daemon) as database:
        async with database.reading() as connection:
            assert await connection.fetchval("select current_user") == "telegram"
        table = ChannelTable(database)
        created = await table.create(NewChannel(EXTRA))
        await ChannelHandover(meeting.channels, table).meet()
        await table.change(created.id, ChannelChange(label="Extra"))
        assert await table.remove(created.id) is not None
        assert EXTRA not in {entry.channel_id for entry in await table.channels()}

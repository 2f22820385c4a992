"""An old gateway's table, with its real flaws, is taken over in place: nothing is thrown away, nothing served twice."""

import json

import asyncpg
import pytest

from schema.conftest import Server
from telewarden.storage.database import open_database
from telewarden.storage.migrate import check, downgrade, upgrade

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CHANNEL = -1001649127710
ROWS, EXTRAS = 5753, 666

OLD = """
create schema telegram_gateway;
create table telegram_gateway.messages (
    id uuid not null default gen_random_uuid(), channel_id text not null, message_id bigint not null,
    thread_id bigint, source text not null default 'unknown', message_type text not null default 'channel_post',
    text text, caption text, media_type text, media_refs jsonb not null default '[]',
    status text not null default 'received', received_at timestamptz default now(),
    telegram_date timestamptz, published_at timestamptz, failed_at timestamptz, queued_at timestamptz,
    reprocess_requested_at timestamptz, reprocessed_at timestamptz, metadata jsonb default '{}',
    created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
    deleted_at timestamptz, primary key (id, created_at)
);
create unique index messages_channel_id_message_id_created_at_idx
    on telegram_gateway.messages (channel_id, message_id, created_at);
create index messages_status on telegram_gateway.messages (status);
create table telegram_gateway.channels (
    id bigserial primary key, channel_id bigint not null unique, label text, description text,
    is_active boolean not null default true, created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
insert into telegram_gateway.channels (channel_id, label) values (-1001649127710, 'Signals');
"""


async def fill(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """As it was found once: every re-sync had stored messages again, with a later created_at."""
    await connection.execute(OLD)
    await connection.execute(
        """
        insert into telegram_gateway.messages
            (channel_id, message_id, source, text, status, received_at, telegram_date, published_at, metadata,
            created_at)
        select $1, n, 'bot', 'signal ' || n, case when n % 3 = 0 then 'received' else 'published' end, at, at,
            case when n % 3 = 0 then null else at + interval '2 s' end,
            case when n % 3 = 0 then '{}' else jsonb_build_object('processed_by', 'tp-capital', 'processed_at',
                to_char(at + interval '2 s', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end, at
        from (select n, date_trunc('minute', now()) - interval '60 days' + n * interval '15 min' as at
              from generate_series(1, $2::int) n) s
        """,
        str(CHANNEL),
        ROWS - EXTRAS,
    )
    await connection.execute(
        """
        insert into telegram_gateway.messages
            (channel_id, message_id, source, text, status, received_at, created_at)
        select channel_id, message_id, source, text, 'received', now(), now() from telegram_gateway.messages
        where message_id <= $1
        """,
        EXTRAS,
    )


async def test_a_real_table_is_taken_over_and_what_was_flawed_is_kept_aside(server: Server) -> None:
    connection = await server.connect()
    await fill(connection)
    flawed = {
        2001: "status = 'sent'",
        2002: "received_at = null",
        2004: "metadata = '[]'",
        # An extra that somebody had already hidden, and an original that was deleted for good.
        2005: "deleted_at = now(), status = 'deleted'",
    }
    for message_id, change in flawed.items():
        await connection.execute(
            f"update telegram_gateway.messages set {change} where message_id = {message_id}"
        )
    original = await connection.fetch("select * from telegram_gateway.messages order by id, created_at")
    assert len(original) == ROWS

    done = await upgrade(server.dsn)
    assert done.adopted == ROWS - EXTRAS
    assert done.replaced == {
        "duplicate": EXTRAS,
        "metadata is no object": 1,
        "no received date": 1,
        "unknown status": 1,
    }
    assert await check(server.dsn) == []
    # The old table is as it was, whole.
    before = await connection.fetch("select * from telegram_gateway.messages_before order by id, created_at")
    assert before == original
    # Each message once, with the id that it had, and processed if any copy was.
    rows = await connection.fetch(
        "select m.*, k.id as key_id from telegram_gateway.messages m join telegram_gateway.message_keys k "
        "using (channel_id, message_id, created_at) order by message_id"
    )
    assert [row["message_id"] for row in rows] == list(range(1, ROWS - EXTRAS + 1))
    ids = {row["id"] for row in original}
    assert all(row["id"] == row["key_id"] and row["id"] in ids for row in rows)
    by_id = {row["message_id"]: row for row in rows}
    assert by_id[1]["status"] == "published"
    assert by_id[3]["status"] == "received"
    assert by_id[2001]["status"] == "received"
    assert by_id[2002]["received_at"] == by_id[2002]["telegram_date"]
    assert by_id[2005]["status"] == "deleted"
    # What waits is what waited, in its order; the duplicates of what was processed do not wait again.
    async with open_database(server.dsn) as database:
        waiting = await database.waiting(CHANNEL, ["received", "queued"], None, 10_000)
    waits = [row["message_id"] for row in waiting]
    expected = {n for n in range(1, ROWS - EXTRAS + 1) if n % 3 == 0} - {2001, 2005} | {2001}
    assert set(waits) == expected
    assert len(waits) == len(expected)
    acknowledged = await connection.fetchval(
        "select count(*) from telegram_gateway.acknowledgements where consumer = 'tp-capital'"
    )
    assert acknowledged == sum(
        row["published_at"] is not None and "processed_by" in row["metadata"] for row in rows
    )
    kept = await connection.fetchrow(
        "select * from telegram_gateway.messages_replaced where reason = 'unknown status'"
    )
    assert kept is not None
    assert json.loads(kept["original"])["status"] == "sent"
    labels = await connection.fetch("select label from telegram_gateway.channels")
    assert [row["label"] for row in labels] == ["Signals"]
    await connection.close()


async def test_a_copy_that_was_processed_or_hidden_decides(server: Server) -> None:
    """(copies of one message: status, deleted, processed by) → (status, processed by) of the one that is kept."""
    cases: list[tuple[list[tuple[str, bool, str | None]], tuple[str, str | None]]] = [
        ([("received", False, None), ("published", False, "a")], ("published", "a")),
        ([("received", False, None), ("deleted", True, None)], ("received", None)),
        ([("received", False, None), ("deleted", True, "a")], ("published", "a")),
        ([("deleted", True, None), ("deleted", True, None)], ("deleted", None)),
        ([("queued", False, None), ("received", False, None)], ("queued", None)),
    ]
    connection = await server.connect()
    await connection.execute(OLD)
    for message_id, (copies, _) in enumerate(cases, 1):
        for number, (status, deleted, consumer) in enumerate(copies):
            await connection.execute(
                "insert into telegram_gateway.messages (channel_id, message_id, status, deleted_at, published_at, "
                "metadata, created_at) select $1, $2, $3, case when $4 then at end, case when $5::text is not null "
                "then at end, case when $5::text is null then '{}' else jsonb_build_object('processed_by', $5::text) "
                "end, at from (select now() - interval '2 d' + $6 * interval '1 h' as at) s",
                str(CHANNEL),
                message_id,
                status,
                deleted,
                consumer,
                number,
            )
    await upgrade(server.dsn)
    rows = await connection.fetch(
        "select status, metadata ->> 'processed_by' as consumer from telegram_gateway.messages order by message_id"
    )
    assert [tuple(row) for row in rows] == [expected for _, expected in cases]
    # Back again: the old table has its name.
    await downgrade(server.dsn, 0)
    assert await connection.fetchval("select count(*) from telegram_gateway.messages") == sum(
        len(copies) for copies, _ in cases
    )
    await connection.close()

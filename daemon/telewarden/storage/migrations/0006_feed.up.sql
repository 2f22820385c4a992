-- What version 1 of the API stands on: every change of a message at its position, who reads along, who may.
-- A position is (epoch, number in that journal); posts have theirs in message_keys, later changes in message_changes.

create index message_keys_feed on telegram_gateway.message_keys (channel_id, epoch, position);

-- An old gateway's rows were adopted without an order of their own; epoch 0 comes before every journal.
update telegram_gateway.message_keys k set position = ranked.position
from (
    select channel_id, message_id, row_number() over (order by created_at, id) as position
    from telegram_gateway.message_keys where epoch = 0
) ranked
where k.epoch = 0 and k.channel_id = ranked.channel_id and k.message_id = ranked.message_id;

-- Edits and deletions, in the order in which they were accepted.
create table telegram_gateway.message_changes (
    channel_id text not null,
    epoch bigint not null,
    position bigint not null,
    message_id bigint not null,
    kind text not null constraint message_changes_kind_known check (kind in ('edited', 'deleted')),
    changed_at timestamptz not null,
    primary key (channel_id, epoch, position)
);
-- A message is deleted once, however often that is said.
create unique index message_changes_deleted on telegram_gateway.message_changes (channel_id, message_id)
    where kind = 'deleted';

-- Up to here messages may be gone with their day: who comes from before is told so.
create table telegram_gateway.feed_floor (
    one boolean primary key default true check (one),
    epoch bigint not null default 0,
    position bigint not null default 0
);
insert into telegram_gateway.feed_floor default values;

-- Deletions that a process without a journal committed: the one that takes in gives them their position.
create table telegram_gateway.handed_over (
    id bigint generated always as identity primary key,
    channel_id text not null,
    message_id bigint not null,
    deleted_at timestamptz not null,
    reason text,
    taken_at timestamptz
);
create index handed_over_open on telegram_gateway.handed_over (id) where taken_at is null;

-- Who reads along, and up to which position everything was handed to it at least once.
create table telegram_gateway.consumers (
    name text primary key,
    channels text[],
    kinds text[] not null default '{posted}',
    max_deliveries integer not null default 10,
    epoch bigint not null,
    position bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- What a consumer was handed and has not acknowledged: leased, or given back, until due_at; or dead.
create table telegram_gateway.deliveries (
    consumer text not null,
    epoch bigint not null,
    position bigint not null,
    channel_id text not null,
    message_id bigint not null,
    kind text not null,
    changed_at timestamptz not null,
    deliveries integer not null,
    due_at timestamptz not null,
    is_leased boolean not null,
    dead_at timestamptz,
    primary key (consumer, epoch, position)
);
create index deliveries_due on telegram_gateway.deliveries (consumer, due_at) where dead_at is null;
create index deliveries_dead on telegram_gateway.deliveries (consumer, epoch, position) where dead_at is not null;

-- Keys, as digests of secrets that are 256 random bits.
create table telegram_gateway.api_keys (
    id text primary key,
    name text not null,
    consumer text not null,
    digest bytea not null,
    scopes text[] not null,
    channels text[],
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    rotated_from text
);

-- The daemon deletes no rows itself; this it may. Gives the positions that were there.
create function telegram_gateway.settle_deliveries(of_consumer text, epochs bigint[], positions bigint[])
returns table (epoch bigint, "position" bigint) language sql
    security definer set search_path = telegram_gateway, pg_temp as $$
    delete from telegram_gateway.deliveries d
    using unnest(epochs, positions) as settled (epoch, position)
    where d.consumer = of_consumer and d.epoch = settled.epoch and d.position = settled.position
    returning d.epoch, d.position
$$;

create function telegram_gateway.drop_consumer(of_consumer text) returns boolean language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
begin
    delete from telegram_gateway.consumers where name = of_consumer;
    if not found then
        return false;
    end if;
    delete from telegram_gateway.deliveries where consumer = of_consumer;
    return true;
end $$;

create function telegram_gateway.move_feed_floor(older_than timestamptz) returns void language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
declare
    reached record;
begin
    select k.epoch, k.position into reached from telegram_gateway.message_keys k
    where k.created_at < older_than order by k.epoch desc, k.position desc limit 1;
    if not found then
        return;
    end if;
    update telegram_gateway.feed_floor f set epoch = reached.epoch, position = reached.position
    where (f.epoch, f.position) < (reached.epoch, reached.position);
    delete from telegram_gateway.message_changes c
    where (c.epoch, c.position) <= (reached.epoch, reached.position);
    delete from telegram_gateway.handed_over h where h.taken_at < older_than;
end $$;

-- As 0003 has it, and the feed's floor follows what is dropped.
create or replace function telegram_gateway.upkeep(
    keep interval default interval '90 days', ahead integer default 2,
    out made integer, out dropped integer, out floor timestamptz
) language plpgsql security definer set search_path = telegram_gateway, pg_temp as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    day date;
    strays boolean := false;
begin
    perform pg_advisory_xact_lock(2116946478);
    made := 0;
    dropped := 0;
    if telegram_gateway.storage_kind() = 'plain' then
        for day in
            select today + generate_series(0, ahead)
            union
            -- Days that nobody made in time.
            select distinct (created_at at time zone 'UTC')::date from telegram_gateway.messages_default
            where created_at >= now() - keep
            order by 1
        loop
            made := made + telegram_gateway.add_day(day)::integer;
        end loop;
        -- Those of days that nobody made go too, and are no day that is counted.
        strays := exists (select from telegram_gateway.messages_default where created_at < now() - keep);
        dropped := telegram_gateway.drop_days(now() - keep);
    else
        -- Not by a retention policy of TimescaleDB: that has a number of days of its own, which the daemon may not change.
        execute format(
            'select count(*) from %I.drop_chunks(''telegram_gateway.messages'', older_than => $1)',
            (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'timescaledb')
        ) into dropped using now() - keep;
    end if;
    if dropped > 0 or strays then
        perform telegram_gateway.move_feed_floor(now() - keep);
    end if;
    floor := telegram_gateway.move_poll_floor();
end $$;

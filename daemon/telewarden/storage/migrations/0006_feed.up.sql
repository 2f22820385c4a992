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
    -- The furthest that the position ever was: what a receipt beyond it names was never handed out.
    furthest_epoch bigint not null,
    furthest_position bigint not null,
    -- Messages were gone before this consumer was handed them; until its start is set again.
    skipped_by_retention boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- What a consumer was handed and has not acknowledged: leased, or given back, until due_at; or dead. deliveries only grows,
-- so that no two of them have the same receipt; as many as forgiven do not count.
create table telegram_gateway.deliveries (
    consumer text not null,
    epoch bigint not null,
    position bigint not null,
    channel_id text not null,
    message_id bigint not null,
    kind text not null,
    changed_at timestamptz not null,
    deliveries integer not null,
    forgiven integer not null default 0,
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

-- The channels that ever had a message. Plan: one look-up of the primary key each; it becomes part of what calls it.
create function telegram_gateway.feed_channels() returns table (channel_id text) language sql stable as $$
    with recursive known as (
        (select k.channel_id from telegram_gateway.message_keys k order by k.channel_id limit 1)
        union all
        select (select k.channel_id from telegram_gateway.message_keys k
                where k.channel_id > known.channel_id order by k.channel_id limit 1)
        from known where known.channel_id is not null
    )
    select known.channel_id from known where known.channel_id is not null
$$;

-- The newest position of the feed; (0, 0) where there is none. Plan: the last entry of each channel, of both indexes.
create function telegram_gateway.feed_head() returns table (epoch bigint, "position" bigint) language plpgsql stable as $$
#variable_conflict use_column
begin
    return query
    select newest.epoch, newest.position from (
        select e.epoch, e.position from telegram_gateway.feed_channels() known
        cross join lateral (
            (select k.epoch, k.position from telegram_gateway.message_keys k where k.channel_id = known.channel_id
             order by k.epoch desc, k.position desc limit 1)
            union all
            (select c.epoch, c.position from telegram_gateway.message_changes c where c.channel_id = known.channel_id
             order by c.epoch desc, c.position desc limit 1)
        ) e
        union all
        select 0, 0
    ) newest
    order by newest.epoch desc, newest.position desc limit 1;
end $$;

-- The position after which everything comes that was accepted at or after a time, as far as it is kept. Times grow with
-- positions, but for posts that were stored late (the database had refused them): these pass over nothing.
-- Plan: of each channel the last post before it and the first ones after it, by messages_analytics; then what happened between.
create function telegram_gateway.feed_position_at(moment timestamptz)
returns table (epoch bigint, "position" bigint) language plpgsql stable as $$
#variable_conflict use_column
declare
    low record;
    high record;
begin
    select next.epoch, next.position into high
    from telegram_gateway.feed_channels() known
    cross join lateral (
        select m.channel_id, m.message_id from telegram_gateway.messages m
        where m.channel_id = known.channel_id and m.created_at >= moment
        -- Several, of which one was stored in time.
        order by m.created_at limit 100
    ) after
    join telegram_gateway.message_keys next on next.channel_id = after.channel_id and next.message_id = after.message_id
    order by next.epoch, next.position limit 1;
    select every.epoch, every.position into low from (
        select f.epoch, f.position from telegram_gateway.feed_floor f
        union all
        select k.epoch, k.position
        from telegram_gateway.feed_channels() known
        cross join lateral (
            select m.channel_id, m.message_id from telegram_gateway.messages m
            where m.channel_id = known.channel_id and m.created_at < moment
            order by m.created_at desc limit 1
        ) last
        join telegram_gateway.message_keys k on k.channel_id = last.channel_id and k.message_id = last.message_id
        where high.epoch is null or (k.epoch, k.position) < (high.epoch, high.position)
    ) every
    order by every.epoch desc, every.position desc limit 1;
    return query
    select every.epoch, every.position from (
        select low.epoch, low.position
        union all
        select c.epoch, c.position from telegram_gateway.message_changes c
        where (c.epoch, c.position) > (low.epoch, low.position) and c.changed_at < moment
            and (high.epoch is null or (c.epoch, c.position) < (high.epoch, high.position))
    ) every
    order by every.epoch desc, every.position desc limit 1;
end $$;

-- Hand out to a consumer what is due again, then what is new, oldest first; see decision 0024. readable: the channels of
-- its key; null for all. There is always a row without an epoch, the last, that says how the consumer stands after that.
-- Plan: deliveries_due; for each channel the next entries of message_keys_feed and of message_changes' primary key.
create function telegram_gateway.lease_deliveries(
    of_consumer text, readable text[], at_most integer, lease interval
) returns table (
    epoch bigint, "position" bigint, kind text, channel_id text, message_id bigint, changed_at timestamptz,
    deliveries integer, due_at timestamptz,
    at_epoch bigint, at_position bigint, channels text[], kinds text[], died integer, again_in_s float8, more boolean
) language plpgsql
    -- Deliveries come and go by the thousand: a plan that was made while there were none must hold for many. So they are
    -- read by an index, and changed one by one by their whole key, here and below.
    set enable_seqscan = off as $$
#variable_conflict use_column
declare
    c telegram_gateway.consumers;
    moment timestamptz;
    next_due timestamptz;
    head record;
    low record;
    due record;
    room integer := at_most;
    found_new integer := 0;
    count_died integer := 0;
begin
    select * into head from telegram_gateway.feed_head();
    select * into c from telegram_gateway.consumers where name = of_consumer;
    if not found then
        insert into telegram_gateway.consumers
            (name, channels, epoch, position, furthest_epoch, furthest_position)
        values (of_consumer, readable, head.epoch, head.position, head.epoch, head.position)
        on conflict do nothing;
    end if;
    select min(d.due_at) into next_due from telegram_gateway.deliveries d
    where d.consumer = of_consumer and d.dead_at is null and (readable is null or d.channel_id = any(readable));
    moment := clock_timestamp();
    -- Mostly there is nothing, and that costs neither a lock nor a write. (The consumer was looked at after the feed's end.)
    if c.name is null or (head.epoch, head.position) > (c.epoch, c.position) or next_due <= moment then
        select * into c from telegram_gateway.consumers where name = of_consumer for update;
        if not found then
            -- Dropped in this moment.
            return query select null::bigint, null::bigint, null::text, null::text, null::bigint, null::timestamptz,
                null::integer, null::timestamptz, head.epoch, head.position, readable, array['posted'], 0, null::float8, true;
            return;
        end if;
        -- From here on no other call hands out anything to this consumer. The time is taken now: leases that ended while
        -- this waited are over, and those that it gives last as long as they should.
        moment := clock_timestamp();
        select f.epoch, f.position into low from telegram_gateway.feed_floor f;
        if (c.epoch, c.position) < (low.epoch, low.position) then
            -- Of posts it is known whether any was passed over, of edits and deletions not.
            c.skipped_by_retention := c.skipped_by_retention or c.kinds <> array['posted'] or exists (
                select from telegram_gateway.message_keys k
                where (c.channels is null or k.channel_id = any(c.channels))
                    and (k.epoch, k.position) > (c.epoch, c.position) and (k.epoch, k.position) <= (low.epoch, low.position)
            );
            c.epoch := low.epoch;
            c.position := low.position;
        end if;

        for due in
            select d.epoch, d.position from telegram_gateway.deliveries d
            where d.consumer = of_consumer and d.dead_at is null and d.due_at <= moment
                and d.deliveries - d.forgiven >= c.max_deliveries
            order by d.epoch, d.position limit 1000
            for update skip locked
        loop
            update telegram_gateway.deliveries d set dead_at = moment, is_leased = false
            where d.consumer = of_consumer and d.epoch = due.epoch and d.position = due.position;
            count_died := count_died + 1;
        end loop;

        -- What is locked is just being acknowledged, returned or extended.
        for due in
            select d.epoch, d.position from telegram_gateway.deliveries d
            where d.consumer = of_consumer and d.dead_at is null and d.due_at <= moment
                and d.deliveries - d.forgiven < c.max_deliveries
                and (readable is null or d.channel_id = any(readable))
            order by d.epoch, d.position limit at_most
            for update skip locked
        loop
            return query
            update telegram_gateway.deliveries d
            set deliveries = d.deliveries + 1, due_at = moment + lease, is_leased = true
            where d.consumer = of_consumer and d.epoch = due.epoch and d.position = due.position
            returning d.epoch, d.position, d.kind, d.channel_id, d.message_id, d.changed_at, d.deliveries, d.due_at,
                null::bigint, null::bigint, null::text[], null::text[], 0, null::float8, false;
            room := room - 1;
        end loop;

        if room > 0 then
            -- One statement, so that the feed's end and what comes before it are of one snapshot. What the filter takes
            -- and this key may not read waits, due at once, for a key that may.
            return query
            with found as materialized (
                select e.*, readable is null or e.channel_id = any(readable) as may
                from telegram_gateway.feed_channels() known
                cross join lateral (
                    (select k.channel_id, k.message_id, k.epoch, k.position, 'posted' as kind, k.created_at as changed_at
                     from telegram_gateway.message_keys k
                     where k.channel_id = known.channel_id and (k.epoch, k.position) > (c.epoch, c.position)
                         and 'posted' = any(c.kinds)
                     order by k.epoch, k.position limit room)
                    union all
                    (select m.channel_id, m.message_id, m.epoch, m.position, m.kind, m.changed_at
                     from telegram_gateway.message_changes m
                     where m.channel_id = known.channel_id and (m.epoch, m.position) > (c.epoch, c.position)
                         and m.kind = any(c.kinds)
                     order by m.epoch, m.position limit room)
                ) e
                where c.channels is null or known.channel_id = any(c.channels)
                order by e.epoch, e.position limit room
            ), made as (
                insert into telegram_gateway.deliveries
                    (consumer, epoch, position, channel_id, message_id, kind, changed_at, deliveries, due_at, is_leased)
                select of_consumer, f.epoch, f.position, f.channel_id, f.message_id, f.kind, f.changed_at,
                    f.may::integer, case when f.may then moment + lease else moment end, f.may
                from found f
                -- It is in flight still: the start was moved back.
                on conflict do nothing
                returning epoch, position, kind, channel_id, message_id, changed_at, deliveries, due_at, is_leased
            ), reached as (
                select every.epoch, every.position from (
                    select c.epoch, c.position
                    union all
                    select f.epoch, f.position from found f
                    union all
                    select h.epoch, h.position from telegram_gateway.feed_head() h
                    where (select count(*) from found) < room
                ) every
                order by every.epoch desc, every.position desc limit 1
            ), moved as (
                update telegram_gateway.consumers k set
                    epoch = r.epoch, position = r.position,
                    furthest_epoch = case when (r.epoch, r.position) > (k.furthest_epoch, k.furthest_position)
                        then r.epoch else k.furthest_epoch end,
                    furthest_position = case when (r.epoch, r.position) > (k.furthest_epoch, k.furthest_position)
                        then r.position else k.furthest_position end,
                    skipped_by_retention = c.skipped_by_retention
                from reached r
                where k.name = of_consumer
            )
            select m.epoch, m.position, m.kind, m.channel_id, m.message_id, m.changed_at, m.deliveries, m.due_at,
                null::bigint, null::bigint, null::text[], null::text[], 0, null::float8, false
            from made m where m.is_leased;
            get diagnostics found_new = row_count;
            room := room - found_new;
            select * into c from telegram_gateway.consumers where name = of_consumer;
        end if;
        if room = at_most then
            -- Nothing: what is there to wait for? More than before the lock was had, perhaps.
            select * into head from telegram_gateway.feed_head();
            select min(d.due_at) into next_due from telegram_gateway.deliveries d
            where d.consumer = of_consumer and d.dead_at is null and (readable is null or d.channel_id = any(readable));
        end if;
    end if;
    return query select null::bigint, null::bigint, null::text, null::text, null::bigint, null::timestamptz,
        null::integer, null::timestamptz, c.epoch, c.position, c.channels, c.kinds, count_died,
        extract(epoch from next_due - clock_timestamp())::float8, (head.epoch, head.position) > (c.epoch, c.position);
end $$;

-- The daemon deletes no rows itself; this it may. Gives the positions that were there. Locks in one order, so that two that
-- settle the same cannot wait for each other.
create function telegram_gateway.settle_deliveries(of_consumer text, epochs bigint[], positions bigint[])
returns table (epoch bigint, "position" bigint) language plpgsql
    security definer set search_path = telegram_gateway, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
    asked record;
begin
    for asked in select a.epoch, a.position from unnest(epochs, positions) as a (epoch, position) order by 1, 2 loop
        return query
        delete from telegram_gateway.deliveries d
        where d.consumer = of_consumer and d.epoch = asked.epoch and d.position = asked.position
        returning d.epoch, d.position;
    end loop;
end $$;

-- 'extend' leases of a consumer from now on, or 'return' what is leased, to be served again after that time: only leases
-- that last still. 'undo' the ones of what never arrived: these do not count. numbers: which delivery of each. One that was
-- handed out too often and is returned becomes a dead letter. Locks in the order in which settle_deliveries does.
create function telegram_gateway.hold_deliveries(
    of_consumer text, epochs bigint[], positions bigint[], numbers integer[], hold interval, what text
) returns table (epoch bigint, "position" bigint, deliveries integer, due_at timestamptz, died boolean) language plpgsql
    set enable_seqscan = off as $$
#variable_conflict use_column
declare
    asked record;
    most constant integer := (select c.max_deliveries from telegram_gateway.consumers c where c.name = of_consumer);
begin
    for asked in
        select a.epoch, a.position, a.number from unnest(epochs, positions, numbers) as a (epoch, position, number)
        order by 1, 2
    loop
        return query
        update telegram_gateway.deliveries d set
            due_at = now() + hold, is_leased = what = 'extend',
            forgiven = d.forgiven + (what = 'undo')::integer,
            dead_at = case when what = 'return' and d.deliveries - d.forgiven >= most then now() end
        where d.consumer = of_consumer and d.epoch = asked.epoch and d.position = asked.position
            and d.deliveries = asked.number and d.is_leased and d.dead_at is null and (d.due_at > now() or what = 'undo')
        returning d.epoch, d.position, d.deliveries, d.due_at, d.dead_at is not null;
    end loop;
end $$;

-- Make a consumer, or change one: whether it is new. Members that are null keep their value, or get the default; channels
-- only if sets_channels. start: 'now', 'beginning' or 'at', with start_at; null lets an existing one go on where it is.
create function telegram_gateway.configure_consumer(
    of_consumer text, readable text[], sets_channels boolean, of_channels text[], of_kinds text[], most_deliveries integer,
    start text, start_at timestamptz
) returns boolean language plpgsql as $$
declare
    is_new boolean;
    place record;
begin
    insert into telegram_gateway.consumers (name, channels, epoch, position, furthest_epoch, furthest_position)
    select of_consumer, readable, h.epoch, h.position, h.epoch, h.position from telegram_gateway.feed_head() h
    on conflict do nothing;
    is_new := found;
    -- Before the place is looked up: what is handed out meanwhile would be handed out again.
    perform from telegram_gateway.consumers where name = of_consumer for update;
    if start = 'now' then
        select * into place from telegram_gateway.feed_head();
    elsif start = 'beginning' then
        select f.epoch, f.position into place from telegram_gateway.feed_floor f;
    elsif start = 'at' then
        select * into place from telegram_gateway.feed_position_at(start_at);
    else
        select c.epoch, c.position into place from telegram_gateway.consumers c where c.name = of_consumer;
    end if;
    update telegram_gateway.consumers c set
        channels = case when sets_channels then of_channels else c.channels end,
        kinds = coalesce(of_kinds, c.kinds),
        max_deliveries = coalesce(most_deliveries, c.max_deliveries),
        epoch = place.epoch, position = place.position,
        skipped_by_retention = c.skipped_by_retention and start is null,
        updated_at = now()
    where c.name = of_consumer;
    return is_new;
end $$;

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

-- The floor moves to before the first post that is kept. Not to the last that is not: a post that was stored late (one that
-- the database had refused) has an old time at a new position, and what came before it is kept.
-- Plan: of each channel the entries of message_keys_feed after the old floor until one that is kept, and the last before it.
create function telegram_gateway.move_feed_floor(older_than timestamptz) returns void language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
declare
    most constant bigint := 9223372036854775807;
    present record;
    kept record;
    reached record;
begin
    select f.epoch, f.position into present from telegram_gateway.feed_floor f for update;
    select next.epoch, next.position into kept
    from telegram_gateway.feed_channels() known
    cross join lateral (
        select k.epoch, k.position from telegram_gateway.message_keys k
        where k.channel_id = known.channel_id and (k.epoch, k.position) > (present.epoch, present.position)
            and k.created_at >= older_than
        order by k.epoch, k.position limit 1
    ) next
    order by next.epoch, next.position limit 1;
    select every.epoch, every.position into reached from (
        select present.epoch, present.position
        union all
        select last.epoch, last.position
        from telegram_gateway.feed_channels() known
        cross join lateral (
            select k.epoch, k.position from telegram_gateway.message_keys k
            where k.channel_id = known.channel_id and (k.epoch, k.position) > (present.epoch, present.position)
                and (k.epoch, k.position) < (coalesce(kept.epoch, most), coalesce(kept.position, most))
            order by k.epoch desc, k.position desc limit 1
        ) last
    ) every
    order by every.epoch desc, every.position desc limit 1;
    update telegram_gateway.feed_floor f set epoch = reached.epoch, position = reached.position
    where (f.epoch, f.position) < (reached.epoch, reached.position);
    delete from telegram_gateway.message_changes c
    where (c.epoch, c.position) <= (reached.epoch, reached.position);
    -- What was not acknowledged in all that time is gone too, and its consumer is told.
    update telegram_gateway.consumers c set skipped_by_retention = true
    where not c.skipped_by_retention and c.name in (
        select d.consumer from telegram_gateway.deliveries d where (d.epoch, d.position) <= (reached.epoch, reached.position)
    );
    delete from telegram_gateway.deliveries d where (d.epoch, d.position) <= (reached.epoch, reached.position);
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

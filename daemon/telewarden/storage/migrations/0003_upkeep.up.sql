-- What keeps messages small and quick: days made ahead and dropped in time, roll-ups, and the time before which nothing
-- waits. The daemon's upkeep worker calls upkeep(); TimescaleDB makes its chunks itself, its TSL edition the roll-ups too.

-- Polls look only at days from this time on. It is never later than the oldest message that waits; see decision 0014.
create table telegram_gateway.poll_floor (
    one boolean primary key default true check (one),
    floor timestamptz not null default '-infinity'
);
insert into telegram_gateway.poll_floor default values;

create function telegram_gateway.lower_poll_floor() returns trigger language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
begin
    -- Waits for an upkeep that is moving it, and is seen by the next one.
    perform from poll_floor for update;
    update poll_floor set floor = new.created_at where floor > new.created_at;
    return null;
end $$;
-- Upkeep leaves two days alone, and this begins after one: a transaction may last the difference.
create trigger messages_poll_floor after insert or update of status, deleted_at on telegram_gateway.messages
    for each row
    when (new.status in ('received', 'queued') and new.deleted_at is null and new.created_at < now() - interval '1 day')
    execute function telegram_gateway.lower_poll_floor();

create function telegram_gateway.move_poll_floor() returns timestamptz language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
declare
    present timestamptz;
    oldest timestamptz;
begin
    select floor into present from poll_floor for update;
    select min(created_at) into oldest from messages
    where status in ('received', 'queued') and deleted_at is null and created_at >= present;
    oldest := least(date_trunc('day', now(), 'UTC') - interval '2 days', oldest);
    if oldest > present then
        update poll_floor set floor = oldest;
        return oldest;
    end if;
    return present;
end $$;

-- 'plain', 'timescale', or 'timescale-apache' where the edition lacks compression, aggregates and policies.
create function telegram_gateway.storage_kind() returns text language sql stable as $$
    select case
        when (select relkind from pg_class where oid = 'telegram_gateway.messages'::regclass) = 'p' then 'plain'
        when current_setting('timescaledb.license', true) = 'apache' then 'timescale-apache'
        else 'timescale'
    end
$$;

-- Make the partition of a day (UTC). Rows of that day that the default partition took meanwhile move into it.
create function telegram_gateway.add_day(day date) returns boolean language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
declare
    name constant text := 'messages_' || to_char(day, 'YYYYMMDD');
    low constant timestamptz := day::timestamp at time zone 'UTC';
    high constant timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    if to_regclass('telegram_gateway.' || name) is not null then
        return false;
    end if;
    execute format('create table telegram_gateway.%I (like telegram_gateway.messages including defaults including constraints)', name);
    lock table telegram_gateway.messages in share update exclusive mode;
    lock table telegram_gateway.messages_default in access exclusive mode;
    execute format(
        'with moved as (delete from telegram_gateway.messages_default where created_at >= %L and created_at < %L returning *)'
        ' insert into telegram_gateway.%I select * from moved', low, high, name
    );
    execute format(
        'alter table telegram_gateway.messages attach partition telegram_gateway.%I for values from (%L) to (%L)',
        name, low, high
    );
    return true;
end $$;

-- Drop the days that end before a time. Returns how many.
create function telegram_gateway.drop_days(older_than timestamptz) returns integer language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
declare
    child record;
    dropped integer := 0;
begin
    for child in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'telegram_gateway.messages'::regclass and c.relname ~ '^messages_\d{8}$'
            and (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp at time zone 'UTC' <= older_than
        order by c.relname
    loop
        execute format('drop table telegram_gateway.%I', child.relname);
        dropped := dropped + 1;
    end loop;
    delete from telegram_gateway.messages_default where created_at < older_than;
    return dropped;
end $$;

-- Harmless to repeat, and by several at once. A day goes when all of it is older than `keep`. Few days ahead: each poll
-- looks into them, and what comes when none was made waits in messages_default for the next upkeep.
create function telegram_gateway.upkeep(
    keep interval default interval '90 days', ahead integer default 2,
    out made integer, out dropped integer, out floor timestamptz
) language plpgsql security definer set search_path = telegram_gateway, pg_temp as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    day date;
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
        dropped := telegram_gateway.drop_days(now() - keep);
    else
        -- Not by a retention policy of TimescaleDB: that has a number of days of its own, which the daemon may not change.
        execute format(
            'select count(*) from %I.drop_chunks(''telegram_gateway.messages'', older_than => $1)',
            (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'timescaledb')
        ) into dropped using now() - keep;
    end if;
    floor := telegram_gateway.move_poll_floor();
end $$;

-- How much came in, and how soon it was processed, by hour and by day. Latencies are seconds from reception to
-- processing. Counts need neither distinct values nor percentiles, which continuous aggregates do not allow.
do $$
declare
    measures constant text := $sql$
        count(*) as messages,
        count(*) filter (where published_at is not null) as published,
        count(*) filter (where published_at is not null)::float8 / count(*) as success_rate,
        avg(extract(epoch from published_at - received_at))::float8 as latency_avg_s,
        min(extract(epoch from published_at - received_at))::float8 as latency_min_s,
        max(extract(epoch from published_at - received_at))::float8 as latency_max_s
        from telegram_gateway.messages
    $sql$;
    hourly constant text := 'channel_id, status, source, message_type, ' || measures
        || ' group by bucket, channel_id, status, source, message_type';
    daily constant text := 'channel_id, ' || measures || ' group by bucket, channel_id';
begin
    if telegram_gateway.storage_kind() = 'timescale' then
        execute 'create materialized view telegram_gateway.messages_hourly with (timescaledb.continuous) as '
            'select time_bucket(interval ''1 hour'', created_at) as bucket, ' || hourly || ' with no data';
        execute 'create materialized view telegram_gateway.messages_daily with (timescaledb.continuous) as '
            'select time_bucket(interval ''1 day'', created_at) as bucket, ' || daily || ' with no data';
        execute $timescale$
            select add_continuous_aggregate_policy('telegram_gateway.messages_hourly',
                start_offset => interval '3 days', end_offset => interval '1 hour', schedule_interval => interval '1 hour');
            select add_continuous_aggregate_policy('telegram_gateway.messages_daily',
                start_offset => interval '7 days', end_offset => interval '1 day', schedule_interval => interval '1 hour');
            alter table telegram_gateway.messages set (timescaledb.compress,
                timescaledb.compress_segmentby = 'channel_id', timescaledb.compress_orderby = 'created_at');
            select add_compression_policy('telegram_gateway.messages', interval '14 days');
        $timescale$;
        return;
    end if;
    if telegram_gateway.storage_kind() = 'timescale-apache' then
        raise notice 'this TimescaleDB is the Apache edition: no compression, no continuous aggregates; '
            'the upkeep worker refreshes ordinary materialized views instead';
    end if;
    execute 'create materialized view telegram_gateway.messages_hourly as '
        'select date_trunc(''hour'', created_at, ''UTC'') as bucket, ' || hourly;
    execute 'create materialized view telegram_gateway.messages_daily as '
        'select date_trunc(''day'', created_at, ''UTC'') as bucket, ' || daily;
    -- Refreshing concurrently needs them.
    create unique index messages_hourly_key
        on telegram_gateway.messages_hourly (bucket, channel_id, status, source, message_type);
    create unique index messages_daily_key on telegram_gateway.messages_daily (bucket, channel_id);
end $$;

create function telegram_gateway.refresh_rollups() returns boolean language plpgsql
    security definer set search_path = telegram_gateway, pg_temp as $$
begin
    if telegram_gateway.storage_kind() = 'timescale' then
        return false;
    end if;
    perform pg_advisory_xact_lock(2116946478);
    refresh materialized view concurrently telegram_gateway.messages_hourly;
    refresh materialized view concurrently telegram_gateway.messages_daily;
    return true;
end $$;

select telegram_gateway.upkeep();

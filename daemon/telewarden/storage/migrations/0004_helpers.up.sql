-- For people and dashboards; the daemon uses none of them.

-- What waits in a channel, oldest first: the poll of a consumer, in SQL.
create function telegram_gateway.unprocessed(channel text, at_most integer default 100)
    returns setof telegram_gateway.messages language sql stable as $$
    select * from telegram_gateway.messages
    where channel_id = channel and status in ('received', 'queued') and deleted_at is null
        and created_at >= (select floor from telegram_gateway.poll_floor)
    order by received_at, id
    limit at_most
$$;

-- A channel's messages by status since a time, with the seconds from reception to processing.
create function telegram_gateway.channel_statistics(channel text, since timestamptz default now() - interval '1 day')
    returns table (
        status text, messages bigint, latency_avg_s float8, latency_p95_s float8, oldest timestamptz, newest timestamptz
    ) language sql stable as $$
    select m.status, count(*),
        avg(extract(epoch from m.published_at - m.received_at))::float8,
        percentile_cont(0.95) within group (order by extract(epoch from m.published_at - m.received_at))::float8,
        min(m.received_at), max(m.received_at)
    from telegram_gateway.messages m
    where m.channel_id = channel and m.created_at >= since
    group by m.status
$$;

-- By channel: how many wait, since when the oldest does, and how long Telegram's newest took to be stored (seconds).
create function telegram_gateway.channel_lag()
    returns table (channel_id text, waiting bigint, oldest_waits_s float8, newest_message_id bigint, arrival_lag_s float8)
    language sql stable as $$
    select k.channel_id, coalesce(w.waiting, 0), w.oldest_waits_s, k.message_id,
        extract(epoch from m.received_at - m.telegram_date)::float8
    from (
        select distinct on (channel_id) channel_id, message_id, id, created_at
        from telegram_gateway.message_keys order by channel_id, message_id desc
    ) k
    left join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at
    left join (
        select o.channel_id, count(*) as waiting, extract(epoch from now() - min(o.received_at))::float8 as oldest_waits_s
        from telegram_gateway.messages o
        where o.status in ('received', 'queued') and o.deleted_at is null
            and o.created_at >= (select floor from telegram_gateway.poll_floor)
        group by o.channel_id
    ) w on w.channel_id = k.channel_id
$$;

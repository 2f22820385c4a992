-- How a consumer ($1), or each, stands, as far as a key may read ($2, null for all). Each number is counted up to $3.
-- Plan: for each channel the entries of message_keys_feed and of message_changes' primary key after the position, no row
-- of messages; deliveries' primary key and deliveries_dead.
select c.name, c.channels, c.kinds, c.max_deliveries, c.created_at, c.epoch, c.position, c.skipped_by_retention,
    fresh.count as fresh, flight.waiting, flight.leased, flight.delayed, flight.count as in_flight, dead.count as dead,
    least(first.oldest_at, flight.oldest_at) as oldest_waiting_at
from telegram_gateway.consumers c
cross join telegram_gateway.feed_floor f
cross join lateral (
    select
        case when (c.epoch, c.position) < (f.epoch, f.position) then f.epoch else c.epoch end as epoch,
        case when (c.epoch, c.position) < (f.epoch, f.position) then f.position else c.position end as position
) after
cross join lateral (
    select count(*) as count from (
        select from telegram_gateway.feed_channels() known
        cross join lateral (
            (select from telegram_gateway.message_keys k
             where k.channel_id = known.channel_id and (k.epoch, k.position) > (after.epoch, after.position)
                 and 'posted' = any(c.kinds)
             limit $3)
            union all
            (select from telegram_gateway.message_changes m
             where m.channel_id = known.channel_id and (m.epoch, m.position) > (after.epoch, after.position)
                 and m.kind = any(c.kinds)
             limit $3)
        ) e
        where (c.channels is null or known.channel_id = any(c.channels))
            and ($2::text[] is null or known.channel_id = any($2::text[]))
        limit $3
    ) e
) fresh
cross join lateral (
    select min(e.changed_at) as oldest_at from telegram_gateway.feed_channels() known
    cross join lateral (
        (select k.created_at as changed_at from telegram_gateway.message_keys k
         where k.channel_id = known.channel_id and (k.epoch, k.position) > (after.epoch, after.position)
             and 'posted' = any(c.kinds)
         order by k.epoch, k.position limit 1)
        union all
        (select m.changed_at from telegram_gateway.message_changes m
         where m.channel_id = known.channel_id and (m.epoch, m.position) > (after.epoch, after.position)
             and m.kind = any(c.kinds)
         order by m.epoch, m.position limit 1)
    ) e
    where (c.channels is null or known.channel_id = any(c.channels))
        and ($2::text[] is null or known.channel_id = any($2::text[]))
) first
cross join lateral (
    select count(*) as count,
        count(*) filter (where d.due_at <= now()) as waiting,
        count(*) filter (where d.due_at > now() and d.is_leased) as leased,
        count(*) filter (where d.due_at > now() and not d.is_leased) as delayed,
        min(d.changed_at) filter (where d.due_at <= now()) as oldest_at
    from (
        select d.due_at, d.is_leased, d.changed_at from telegram_gateway.deliveries d
        where d.consumer = c.name and d.dead_at is null and ($2::text[] is null or d.channel_id = any($2::text[]))
        limit $3
    ) d
) flight
cross join lateral (
    select count(*) as count from (
        select from telegram_gateway.deliveries d
        where d.consumer = c.name and d.dead_at is not null and ($2::text[] is null or d.channel_id = any($2::text[]))
        limit $3
    ) d
) dead
where $1::text is null or c.name = $1
order by c.name

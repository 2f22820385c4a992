-- Extend ($6 true) or end ($6 false) leases of a consumer ($1; $2 epochs, $3 positions, $4 which delivery, of one length),
-- by $5 from now on; only those that last still. One that was handed out too often and is returned becomes a dead letter.
-- Plan: the primary key of deliveries; locked in one order, as settle_deliveries does it.
with asked as (
    select * from unnest($2::bigint[], $3::bigint[], $4::integer[]) as a (epoch, position, deliveries)
), held as (
    select d.epoch, d.position from asked
    join telegram_gateway.deliveries d on d.consumer = $1 and d.epoch = asked.epoch and d.position = asked.position
    where d.deliveries = asked.deliveries and d.is_leased and d.dead_at is null and d.due_at > now()
    order by d.epoch, d.position
    for update of d
), changed as (
    update telegram_gateway.deliveries d set
        due_at = now() + $5::interval, is_leased = $6::boolean,
        dead_at = case when not $6::boolean and d.deliveries - d.forgiven >= c.max_deliveries then now() end
    from held, telegram_gateway.consumers c
    where d.consumer = $1 and d.epoch = held.epoch and d.position = held.position and c.name = $1
    returning d.epoch, d.position, d.deliveries, d.due_at, d.dead_at
)
select asked.epoch, asked.position, asked.deliveries, changed.due_at, changed.dead_at is not null as died,
    coalesce((asked.epoch, asked.position) <= (c.furthest_epoch, c.furthest_position), false) as handed_out
from asked
left join changed using (epoch, position, deliveries)
left join telegram_gateway.consumers c on c.name = $1

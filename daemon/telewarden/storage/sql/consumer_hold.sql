-- Leases of a consumer ($1; $2 epochs, $3 positions, $4 which delivery, of one length) are extended or ended ($6) by $5, see
-- hold_deliveries; and whether each was ever handed out. Plan: the primary key of deliveries.
select asked.epoch, asked.position, asked.deliveries, held.due_at, coalesce(held.died, false) as died,
    coalesce((asked.epoch, asked.position) <= (c.furthest_epoch, c.furthest_position), false) as handed_out
from unnest($2::bigint[], $3::bigint[], $4::integer[]) as asked (epoch, position, deliveries)
left join telegram_gateway.hold_deliveries($1, $2, $3, $4, $5, $6) held
    on held.epoch = asked.epoch and held.position = asked.position and held.deliveries = asked.deliveries
left join telegram_gateway.consumers c on c.name = $1

-- Settle deliveries of a consumer ($1; $2 epochs, $3 positions, pairwise): whether each was in flight, and whether it was
-- ever handed out. Plan: the primary key of deliveries.
select asked.epoch, asked.position, settled.epoch is not null as settled,
    coalesce((asked.epoch, asked.position) <= (c.furthest_epoch, c.furthest_position), false) as handed_out
from unnest($2::bigint[], $3::bigint[]) as asked (epoch, position)
left join telegram_gateway.settle_deliveries($1, $2, $3) settled
    on settled.epoch = asked.epoch and settled.position = asked.position
left join telegram_gateway.consumers c on c.name = $1

-- Undo a hand-over that never arrived ($1 consumer, $2 epochs, $3 positions, $4 which delivery).
with held as (
    select d.epoch, d.position from unnest($2::bigint[], $3::bigint[], $4::integer[]) as a (epoch, position, deliveries)
    join telegram_gateway.deliveries d on d.consumer = $1 and d.epoch = a.epoch and d.position = a.position
    where d.deliveries = a.deliveries and d.is_leased and d.dead_at is null
    order by d.epoch, d.position
    for update of d
)
update telegram_gateway.deliveries d set due_at = now(), is_leased = false, forgiven = d.forgiven + 1
from held where d.consumer = $1 and d.epoch = held.epoch and d.position = held.position

-- Decide on events that were set aside ($1 epochs, $2 positions, pairwise; $3 the outcome).
update telegram_gateway.poison_events p set outcome = $3, decided_at = now()
from unnest($1::bigint[], $2::bigint[]) as wanted (epoch, position)
where p.epoch = wanted.epoch and p.position = wanted.position and p.outcome is null
returning p.event

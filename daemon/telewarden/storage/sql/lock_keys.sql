-- Lock each key ($1 channels, $2 message ids, pairwise) until the transaction ends, in one order, so that two writers
-- cannot deadlock. A statement of its own: one that waits for a lock goes on with what its snapshot shows of the other
-- tables, so the states must be read by a later one. Plan: one primary-key look-up a pair.
select k.channel_id, k.message_id
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.message_keys k using (channel_id, message_id)
order by k.channel_id, k.message_id
for update of k

-- Edits and deletions at their positions ($1 channels, $2 epoch, $3 positions, $4 message ids, $5 kinds, $6 times); each
-- once, and a message is deleted once.
insert into telegram_gateway.message_changes (channel_id, epoch, position, message_id, kind, changed_at)
select c.channel_id, $2::bigint, c.position, c.message_id, c.kind, c.changed_at
from unnest($1::text[], $3::bigint[], $4::bigint[], $5::text[], $6::timestamptz[])
     as c (channel_id, position, message_id, kind, changed_at)
on conflict do nothing

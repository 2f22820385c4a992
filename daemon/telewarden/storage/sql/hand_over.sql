-- Deletions that wait for a position ($1 channels, $2 message ids, $3 times, $4 reasons).
insert into telegram_gateway.handed_over (channel_id, message_id, deleted_at, reason)
select * from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[])

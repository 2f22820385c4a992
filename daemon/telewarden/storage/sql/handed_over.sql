-- The oldest deletions that wait for a position, at most $1. Plan: handed_over_open.
select id, channel_id, message_id, deleted_at, reason from telegram_gateway.handed_over
where taken_at is null order by id limit $1

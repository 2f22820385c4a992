-- How many wait in some channels ($1). Plan: index messages_open, of the days since the poll floor.
select count(*) from telegram_gateway.messages
where channel_id = any($1::text[]) and status in ('received', 'queued') and deleted_at is null
    and created_at >= (select floor from telegram_gateway.poll_floor)

-- How many wait, by status. Plan: index messages_open, of the days since the poll floor.
select m.status, count(*) as count from telegram_gateway.messages m
where m.status in ('received', 'queued') and m.deleted_at is null
    and m.created_at >= (select floor from telegram_gateway.poll_floor) and {condition}
group by m.status

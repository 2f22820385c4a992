-- Whether everything that waits is plain: no queued row, no waiting row that somebody processed once. $1: the poll floor.
select not exists (
    select from telegram_gateway.messages
    where status in ('received', 'queued') and deleted_at is null and created_at >= $1
      and (status = 'queued' or metadata ? 'processed_by')
) as plain

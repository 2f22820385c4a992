-- Whether everything that waits is plain: no queued row, no waiting row that somebody processed once.
select not exists (
    select from telegram_gateway.messages where status = 'queued' and deleted_at is null
) and not exists (
    select from telegram_gateway.messages
    where status = 'received' and deleted_at is null and metadata ? 'processed_by'
) as plain

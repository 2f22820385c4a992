-- One message by its id. Plan: index message_keys_id, then (id, created_at) of its day.
select m.id, m.channel_id, m.message_id, m.thread_id, m.source, m.message_type, m.text, m.caption,
       m.media_type, m.media_refs, m.status, m.received_at, m.telegram_date, m.published_at, m.failed_at,
       m.queued_at, m.reprocess_requested_at, m.reprocessed_at, m.metadata, m.created_at, m.updated_at,
       m.deleted_at, k.content_version, k.status_at
from telegram_gateway.message_keys k
join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at
where k.id = $1
limit 1

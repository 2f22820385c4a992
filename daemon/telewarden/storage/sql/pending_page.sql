-- A page of everything that waits, for a warm: keyset pagination after ($1 received_at, $2 id), at most $3 rows.
-- $5: the poll floor. Plan: index messages_open, then sort.
select m.id, m.channel_id, m.message_id, m.thread_id, m.source, m.message_type, m.text, m.caption,
       m.media_type, m.media_refs, m.status, m.received_at, m.telegram_date, m.published_at, m.failed_at,
       m.queued_at, m.reprocess_requested_at, m.reprocessed_at, m.metadata, m.created_at, m.updated_at,
       m.deleted_at, k.content_version, k.status_at
from telegram_gateway.messages m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
where m.status = 'received' and m.deleted_at is null and m.created_at >= $5 and m.channel_id = any($4::text[])
  and (m.received_at, m.id) > ($1::timestamptz, $2::uuid)
order by m.received_at, m.id
limit $3

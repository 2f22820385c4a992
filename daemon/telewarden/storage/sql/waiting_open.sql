-- As waiting.sql, for statuses among those that consumers poll. $5: the poll floor, before which none of them is.
-- Plan: index messages_open in the order of the answer, of the days since the floor.
select m.id, m.channel_id, m.message_id, m.thread_id, m.source, m.message_type, m.text, m.caption,
       m.media_type, m.media_refs, m.status, m.received_at, m.telegram_date, m.published_at, m.failed_at,
       m.queued_at, m.reprocess_requested_at, m.reprocessed_at, m.metadata, m.created_at, m.updated_at,
       m.deleted_at, k.content_version, k.status_at
from telegram_gateway.messages m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
where m.channel_id = $1 and m.status in ('received', 'queued') and m.status = any($2::text[])
  and m.deleted_at is null and m.created_at >= $5
  and ($3::text is null or m.metadata ->> 'processed_by' is distinct from $3)
order by m.received_at, m.id
limit $4

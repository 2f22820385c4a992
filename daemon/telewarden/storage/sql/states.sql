-- The present state of each key ($1 channels, $2 message ids, pairwise), after lock_keys.sql has locked them.
-- Plan: one primary-key look-up of message_keys a pair, then messages by (id, created_at).
select k.channel_id, k.message_id, k.id, k.created_at, k.content_version, k.status_at, k.epoch, k.position,
       m.thread_id, m.source, m.message_type, m.text, m.caption, m.media_type, m.media_refs, m.status,
       m.received_at, m.telegram_date, m.published_at, m.failed_at, m.queued_at, m.reprocess_requested_at,
       m.reprocessed_at, m.metadata, m.updated_at, m.deleted_at
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.message_keys k using (channel_id, message_id)
left join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at

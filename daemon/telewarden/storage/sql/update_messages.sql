-- Rows whose message changed, found in their chunk through (id, created_at).
update telegram_gateway.messages m set
    thread_id = changed.thread_id, source = changed.source, message_type = changed.message_type,
    text = changed.text, caption = changed.caption, media_type = changed.media_type,
    media_refs = changed.media_refs, status = changed.status, received_at = changed.received_at,
    telegram_date = changed.telegram_date, published_at = changed.published_at,
    failed_at = changed.failed_at, queued_at = changed.queued_at,
    reprocess_requested_at = changed.reprocess_requested_at, reprocessed_at = changed.reprocessed_at,
    metadata = changed.metadata, updated_at = changed.updated_at, deleted_at = changed.deleted_at
from unnest(
    $1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::jsonb[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[],
    $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::jsonb[],
    $20::timestamptz[], $21::timestamptz[], $22::timestamptz[]
) as changed (
    id, channel_id, message_id, thread_id, source, message_type, text, caption, media_type, media_refs,
    status, received_at, telegram_date, published_at, failed_at, queued_at, reprocess_requested_at,
    reprocessed_at, metadata, created_at, updated_at, deleted_at
)
where m.id = changed.id and m.created_at = changed.created_at

-- Rows of messages whose keys were inserted in the same transaction.
insert into telegram_gateway.messages (
    id, channel_id, message_id, thread_id, source, message_type, text, caption, media_type, media_refs,
    status, received_at, telegram_date, published_at, failed_at, queued_at, reprocess_requested_at,
    reprocessed_at, metadata, created_at, updated_at, deleted_at
)
select * from unnest(
    $1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::jsonb[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[],
    $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::jsonb[],
    $20::timestamptz[], $21::timestamptz[], $22::timestamptz[]
)

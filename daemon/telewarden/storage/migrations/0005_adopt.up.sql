-- The rows of an old gateway's table, which 0001 put aside as messages_before and which stays as it was. What could not
-- be taken as it is (duplicates of a message, statuses that nobody knows, missing dates) is kept whole in
-- messages_replaced, with the reason.
create table telegram_gateway.messages_replaced (
    position bigint generated always as identity primary key,
    reason text not null,
    channel_id text,
    message_id bigint,
    kept_id uuid,
    original jsonb not null
);

do $$
declare
    day date;
begin
    if to_regclass('telegram_gateway.messages_before') is null then
        return;
    end if;

    create temp table adopted on commit drop as
    select b.id as given_id, b.channel_id::text as channel_id, b.message_id::bigint as message_id,
        coalesce(b.id, gen_random_uuid()) as id, b.thread_id, coalesce(b.source, 'unknown') as source,
        coalesce(b.message_type, 'channel_post') as message_type, b.text, b.caption, b.media_type,
        coalesce(to_jsonb(b.media_refs), '[]') as media_refs, b.status as given_status,
        case
            when b.status in ('received', 'retrying', 'published', 'queued', 'failed', 'reprocess_pending',
                'reprocessed', 'deleted') then b.status
            when b.deleted_at is not null then 'deleted'
            when b.published_at is not null then 'published'
            when b.failed_at is not null then 'failed'
            -- Served once too often rather than never.
            else 'received'
        end as status,
        b.received_at as given_received_at,
        coalesce(b.received_at, b.telegram_date, b.created_at, now()) as received_at,
        b.telegram_date, b.published_at, b.failed_at, b.queued_at, b.reprocess_requested_at, b.reprocessed_at,
        b.metadata as given_metadata,
        case when jsonb_typeof(b.metadata) = 'object' then b.metadata else '{}' end as metadata,
        b.created_at as given_created_at,
        coalesce(b.created_at, b.received_at, b.telegram_date, now()) as created_at,
        coalesce(b.updated_at, b.created_at, now()) as updated_at, b.deleted_at,
        to_jsonb(b) as original
    from telegram_gateway.messages_before b;

    insert into telegram_gateway.messages_replaced (reason, channel_id, message_id, original)
    select 'no channel or message id', channel_id, message_id, original from adopted
    where channel_id is null or message_id is null;
    delete from adopted where channel_id is null or message_id is null;

    -- One of each message: rather one that is not deleted, then one that is processed, then the first.
    create temp table ranked on commit drop as
    select a.*,
        row_number() over best as rank,
        first_value(id) over best as kept_id,
        max(published_at) over message as any_published_at,
        (array_agg(metadata -> 'processed_by') filter (where metadata ? 'processed_by') over message)[1] as any_processed_by,
        (array_agg(metadata -> 'processed_at') filter (where metadata ? 'processed_at') over message)[1] as any_processed_at
    from adopted a
    window
        message as (partition by channel_id, message_id),
        best as (partition by channel_id, message_id
            order by (deleted_at is not null or status = 'deleted'), (published_at is null), created_at, id);

    insert into telegram_gateway.messages_replaced (reason, channel_id, message_id, kept_id, original)
    select 'duplicate', channel_id, message_id, kept_id, original from ranked where rank > 1;
    delete from ranked where rank > 1;

    insert into telegram_gateway.messages_replaced (reason, channel_id, message_id, kept_id, original)
    select 'unknown status', channel_id, message_id, id, original from ranked where given_status is distinct from status
    union all
    select 'no received date', channel_id, message_id, id, original from ranked where given_received_at is null
    union all
    select 'no creation date', channel_id, message_id, id, original from ranked where given_created_at is null
    union all
    select 'metadata is no object', channel_id, message_id, id, original from ranked
    where jsonb_typeof(given_metadata) is distinct from 'object';

    -- Who has processed one of the copies has processed the message.
    update ranked set status = 'published', published_at = any_published_at,
        metadata = metadata
            || case when any_processed_by is null then '{}' else jsonb_build_object('processed_by', any_processed_by) end
            || case when any_processed_at is null then '{}' else jsonb_build_object('processed_at', any_processed_at) end
    where status in ('received', 'queued', 'retrying') and published_at is null and any_published_at is not null;

    if telegram_gateway.storage_kind() = 'plain' then
        for day in select distinct (created_at at time zone 'UTC')::date from ranked order by 1 loop
            perform telegram_gateway.add_day(day);
        end loop;
    end if;
    insert into telegram_gateway.messages (
        id, channel_id, message_id, thread_id, source, message_type, text, caption, media_type, media_refs, status,
        received_at, telegram_date, published_at, failed_at, queued_at, reprocess_requested_at, reprocessed_at,
        metadata, created_at, updated_at, deleted_at
    )
    select id, channel_id, message_id, thread_id, source, message_type, text, caption, media_type, media_refs, status,
        received_at, telegram_date, published_at, failed_at, queued_at, reprocess_requested_at, reprocessed_at,
        metadata, created_at, updated_at, deleted_at
    from ranked;
    insert into telegram_gateway.message_keys
        (channel_id, message_id, id, created_at, content_version, status_at, epoch, position)
    select channel_id, message_id, id, created_at, 0, coalesce(published_at, to_timestamp(0)), 0, 0 from ranked;
    insert into telegram_gateway.acknowledgements (channel_id, message_id, consumer, acknowledged_at)
    select channel_id, message_id, metadata ->> 'processed_by', published_at from ranked
    where metadata ? 'processed_by' and published_at is not null;
    perform telegram_gateway.move_poll_floor();
end $$;

-- The tables that existing consumers rely on, as the contract names them. On TimescaleDB messages is a hypertable, else
-- it is partitioned by day. A table that an old gateway left is put aside here, and its rows are adopted by 0005.

do $$
declare
    object record;
begin
    if to_regclass('telegram_gateway.messages') is null then
        return;
    end if;
    alter table telegram_gateway.messages rename to messages_before;
    for object in
        select indexname from pg_indexes where schemaname = 'telegram_gateway' and tablename = 'messages_before'
    loop
        execute format(
            'alter index telegram_gateway.%I rename to %I', object.indexname, left(object.indexname, 50) || '_before'
        );
    end loop;
end $$;

do $$
declare
    shape constant text := $ddl$
        create table telegram_gateway.messages (
            id uuid not null default gen_random_uuid(),
            channel_id text not null,
            message_id bigint not null,
            thread_id bigint,
            source text not null default 'unknown',
            message_type text not null default 'channel_post',
            text text,
            caption text,
            media_type text,
            media_refs jsonb not null default '[]',
            status text not null default 'received' constraint messages_status_known check (status in (
                'received', 'retrying', 'published', 'queued', 'failed', 'reprocess_pending', 'reprocessed', 'deleted'
            )),
            received_at timestamptz not null default now(),
            telegram_date timestamptz,
            published_at timestamptz,
            failed_at timestamptz,
            queued_at timestamptz,
            reprocess_requested_at timestamptz,
            reprocessed_at timestamptz,
            metadata jsonb not null default '{}',
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now(),
            deleted_at timestamptz,
            constraint messages_pkey primary key (id, created_at)
        )
    $ddl$;
begin
    if exists (select from pg_available_extensions where name = 'timescaledb' and installed_version is null)
        and current_setting('shared_preload_libraries') like '%timescaledb%'
    then
        begin
            create extension timescaledb;
        exception when insufficient_privilege then
            raise notice 'TimescaleDB is there but not created in this database, and this role may not do it: plain partitions are used';
        end;
    end if;
    if exists (select from pg_extension where extname = 'timescaledb') then
        execute shape;
        execute $timescale$
            select create_hypertable('telegram_gateway.messages', 'created_at',
                chunk_time_interval => interval '1 day', create_default_indexes => false)
        $timescale$;
    else
        execute shape || ' partition by range (created_at)';
        create table telegram_gateway.messages_default partition of telegram_gateway.messages default;
    end if;
end $$;

create unique index messages_channel_message_created on telegram_gateway.messages (channel_id, message_id, created_at);
create index messages_status on telegram_gateway.messages (status);
create index messages_received_at on telegram_gateway.messages (received_at desc);
create index messages_published_at on telegram_gateway.messages (published_at desc);
create index messages_source_received_at on telegram_gateway.messages (source, received_at desc);

-- The order of lists, the newest first: a page of one reads little more than itself, whatever there is.
create index messages_listed on telegram_gateway.messages
    (telegram_date desc nulls last, received_at desc nulls last, id desc nulls last);

-- Partial indexes. What waits for the polls that every consumer sends, in their order: rows leave it when processed.
create index messages_open on telegram_gateway.messages (channel_id, received_at, id)
    where status in ('received', 'queued') and deleted_at is null;
create index messages_unprocessed on telegram_gateway.messages (received_at)
    where status = 'received' and deleted_at is null;
create index messages_processing on telegram_gateway.messages (status, received_at)
    where status in ('received', 'retrying');
-- No text in it: an index entry that is too long would make its row one that cannot be stored.
create index messages_polling on telegram_gateway.messages (channel_id, status, received_at, id)
    include (message_id, created_at) where deleted_at is null;
create index messages_processed_by on telegram_gateway.messages ((metadata ->> 'processed_by'))
    where metadata ? 'processed_by';
create index messages_analytics on telegram_gateway.messages (channel_id, created_at desc, status)
    where deleted_at is null;

create table if not exists telegram_gateway.channels (
    id bigserial primary key,
    channel_id bigint not null unique,
    label text,
    description text,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists telegram_gateway.forwarding_rules (
    id bigserial primary key,
    source_channel_id bigint not null,
    target text not null,
    filters jsonb not null default '{}',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- updated_at follows every change; a writer that sets it itself (the daemon: the time of the newest event, so that every
-- source gives the same bytes) is left alone, also where it stays the same: it says so for its transaction.
create or replace function telegram_gateway.touch_updated_at() returns trigger language plpgsql as $$
begin
    if new.updated_at is not distinct from old.updated_at and new is distinct from old
        and current_setting('telewarden.sets_updated_at', true) is distinct from 'on'
    then
        new.updated_at := now();
    end if;
    return new;
end $$;
create trigger messages_updated_at before update on telegram_gateway.messages
    for each row execute function telegram_gateway.touch_updated_at();
create or replace trigger channels_updated_at before update on telegram_gateway.channels
    for each row execute function telegram_gateway.touch_updated_at();
create or replace trigger forwarding_rules_updated_at before update on telegram_gateway.forwarding_rules
    for each row execute function telegram_gateway.touch_updated_at();

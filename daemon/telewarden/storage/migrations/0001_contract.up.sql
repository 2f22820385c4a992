-- The tables that existing consumers rely on, as the contract names them.
create schema if not exists telegram_gateway;

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
    status text not null default 'received' check (status in (
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
    primary key (id, created_at)
);
create unique index messages_channel_message_created on telegram_gateway.messages (channel_id, message_id, created_at);
create index messages_status on telegram_gateway.messages (status);
create index messages_received_at on telegram_gateway.messages (received_at desc);
create index messages_published_at on telegram_gateway.messages (published_at desc);
create index messages_source_received_at on telegram_gateway.messages (source, received_at desc);
-- Polls: one channel's rows of a status, oldest first.
create index messages_polling on telegram_gateway.messages (channel_id, status, received_at, id)
    where deleted_at is null;

create table telegram_gateway.channels (
    id bigserial primary key,
    channel_id bigint not null unique,
    label text,
    description text,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table telegram_gateway.forwarding_rules (
    id bigserial primary key,
    source_channel_id bigint not null,
    target text not null,
    filters jsonb not null default '{}',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- updated_at follows every change; a writer that sets it itself (the daemon: the time of the newest event,
-- so that every source gives the same bytes) is left alone.
create function telegram_gateway.touch_updated_at() returns trigger language plpgsql as $$
begin
    if new.updated_at is not distinct from old.updated_at and new is distinct from old then
        new.updated_at := now();
    end if;
    return new;
end $$;
create trigger messages_updated_at before update on telegram_gateway.messages
    for each row execute function telegram_gateway.touch_updated_at();
create trigger channels_updated_at before update on telegram_gateway.channels
    for each row execute function telegram_gateway.touch_updated_at();
create trigger forwarding_rules_updated_at before update on telegram_gateway.forwarding_rules
    for each row execute function telegram_gateway.touch_updated_at();

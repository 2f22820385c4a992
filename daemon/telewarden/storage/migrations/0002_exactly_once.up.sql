-- What makes a message stored once, whatever is replayed: see ARCHITECTURE, "Events merge".

-- One number for each journal; a message's position in the feed is (epoch, position in that journal).
create table telegram_gateway.epochs (
    epoch bigint generated always as identity primary key,
    started_at timestamptz not null default now()
);

-- Decides what is new. messages gets a row only for a key inserted in the same transaction.
create table telegram_gateway.message_keys (
    channel_id text not null,
    message_id bigint not null,
    id uuid not null,
    created_at timestamptz not null,
    content_version bigint not null,
    status_at timestamptz not null,
    epoch bigint not null,
    position bigint not null,
    primary key (channel_id, message_id)
);
create index message_keys_id on telegram_gateway.message_keys (id);

-- Who acknowledged what, also for a message whose row has not arrived yet.
create table telegram_gateway.acknowledgements (
    channel_id text not null,
    message_id bigint not null,
    consumer text not null,
    acknowledged_at timestamptz not null,
    primary key (channel_id, message_id, consumer)
);

-- Earlier contents of edited messages.
create table telegram_gateway.message_revisions (
    channel_id text not null,
    message_id bigint not null,
    content_version bigint not null,
    text text,
    caption text,
    media_type text,
    media_refs jsonb not null default '[]',
    metadata jsonb not null default '{}',
    primary key (channel_id, message_id, content_version)
);

-- Events that the database refuses; they never block the others.
create table telegram_gateway.poison_events (
    epoch bigint not null,
    position bigint not null,
    channel_id text not null,
    message_id bigint not null,
    event bytea not null,
    error text not null,
    set_aside_at timestamptz not null default now(),
    -- What an operator decided; until then it waits.
    outcome text check (outcome in ('retried', 'dropped')),
    decided_at timestamptz,
    primary key (epoch, position)
);

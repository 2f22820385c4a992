-- How the table channels, which operators change over HTTP, meets the process that takes in (docs/decisions, "Channels over HTTP").

create table telegram_gateway.channel_intake (
    channel_id bigint primary key,
    -- By the process that takes in: it may be polled; it stands in the settings, so that only they can remove it.
    is_served boolean not null default false,
    is_configured boolean not null default false,
    -- By whoever was asked over HTTP, until the process that takes in has done it; wish numbers what was asked.
    wanted text constraint channel_intake_wanted_known check (wanted in ('taken in', 'paused', 'removed')),
    wish bigint not null default 0
);

-- Until the process that takes in has looked: what was served goes on to be, and counts as the settings' own, so that
-- what an old gateway left is not taken in by itself.
insert into telegram_gateway.channel_intake (channel_id, is_served, is_configured)
select channel_id, is_active, true from telegram_gateway.channels;

-- The daemon deletes no rows itself; this it may.
create function telegram_gateway.remove_channel(row_id bigint) returns void language sql
    security definer set search_path = telegram_gateway, pg_temp as $$
    delete from telegram_gateway.channels where id = row_id
$$;

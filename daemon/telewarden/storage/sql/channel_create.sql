-- A new channel; no row where there is one already.
insert into telegram_gateway.channels (channel_id, label, description, is_active)
values ($1, $2, $3, $4)
on conflict (channel_id) do nothing
returning id, channel_id, label, description, is_active, created_at, updated_at

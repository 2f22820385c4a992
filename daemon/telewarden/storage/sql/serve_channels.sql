-- The channels that are served ($1), with their names ($2, empty where not known), for the processes that only serve;
-- those that are served no more ($3) stay, inactive. Labels and descriptions that somebody gave stay.
with served as (
    insert into telegram_gateway.channels (channel_id, label)
    select * from unnest($1::bigint[], $2::text[]) as given (channel_id, label)
    on conflict (channel_id) do update
        set is_active = true, label = coalesce(nullif(channels.label, ''), excluded.label), updated_at = now()
        where not channels.is_active or (coalesce(channels.label, '') = '' and excluded.label <> '')
)
update telegram_gateway.channels set is_active = false, updated_at = now()
where is_active and channel_id = any($3::bigint[])

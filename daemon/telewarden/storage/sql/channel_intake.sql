-- Which channels may be polled ($1), and which of them stand in the settings ($2); no others.
with gone as (
    update telegram_gateway.channel_intake set is_served = false, is_configured = false
    where (is_served or is_configured) and channel_id <> all($1::bigint[])
)
insert into telegram_gateway.channel_intake (channel_id, is_served, is_configured)
select channel_id, true, is_configured from unnest($1::bigint[], $2::boolean[]) as given (channel_id, is_configured)
on conflict (channel_id) do update set is_served = true, is_configured = excluded.is_configured
    where not channel_intake.is_served or channel_intake.is_configured <> excluded.is_configured

-- Write down which served channels ($1, with names, empty where not known, $2) are taken in ($3). Of a channel with an
-- open wish the row is what somebody has just asked for: it stays. So do labels that somebody gave.
insert into telegram_gateway.channels (channel_id, label, is_active)
select given.channel_id, nullif(given.label, ''), given.is_active
from unnest($1::bigint[], $2::text[], $3::boolean[]) as given (channel_id, label, is_active)
where not exists (
    select from telegram_gateway.channel_intake i where i.channel_id = given.channel_id and i.wanted is not null
)
on conflict (channel_id) do update
    set is_active = excluded.is_active, label = coalesce(nullif(channels.label, ''), excluded.label)
    where channels.is_active <> excluded.is_active
        or (coalesce(channels.label, '') = '' and excluded.label is not null)

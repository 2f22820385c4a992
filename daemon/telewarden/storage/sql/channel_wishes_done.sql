-- These wishes ($2) of channels ($1) are done; a newer one of the same channel stays.
update telegram_gateway.channel_intake i set wanted = null
from unnest($1::bigint[], $2::bigint[]) as done (channel_id, wish)
where i.channel_id = done.channel_id and i.wish = done.wish

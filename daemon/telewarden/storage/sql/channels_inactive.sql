-- All others than these ($1) are not taken in, unless somebody has just asked for it. Gives those that seemed to be.
update telegram_gateway.channels c set is_active = false
where c.is_active and c.channel_id <> all($1::bigint[])
    and not exists (
        select from telegram_gateway.channel_intake i where i.channel_id = c.channel_id and i.wanted is not null
    )
returning c.channel_id

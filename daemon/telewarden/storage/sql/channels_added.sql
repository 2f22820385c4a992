-- Channels that were served and do not stand in the settings: somebody has added them. None of which something is wanted.
select i.channel_id, coalesce(c.label, '') as label, coalesce(c.is_active, true) as is_active
from telegram_gateway.channel_intake i
left join telegram_gateway.channels c on c.channel_id = i.channel_id
where i.is_served and not i.is_configured and i.wanted is null
order by i.channel_id

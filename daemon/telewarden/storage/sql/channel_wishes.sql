-- What is still to be done, with the label that the channel was given.
select i.channel_id, i.wanted, i.wish, coalesce(c.label, '') as label
from telegram_gateway.channel_intake i
left join telegram_gateway.channels c on c.channel_id = i.channel_id
where i.wanted is not null
order by i.channel_id

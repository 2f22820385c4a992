-- Which channels may be polled: also one that was added over HTTP a moment ago, and none that was removed; with their names.
select i.channel_id, c.label from telegram_gateway.channel_intake i
left join telegram_gateway.channels c on c.channel_id = i.channel_id
where case i.wanted when 'taken in' then true when 'removed' then false else i.is_served end

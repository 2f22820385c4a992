-- Which channels may be polled, and how they are called: also one that was added over HTTP a moment ago, and none that
-- was removed.
select i.channel_id, coalesce(c.label, '') as label
from telegram_gateway.channel_intake i left join telegram_gateway.channels c using (channel_id)
where case i.wanted when 'taken in' then true when 'removed' then false else i.is_served end

-- Which channels may be polled: also one that was added over HTTP a moment ago, and none that was removed.
select channel_id from telegram_gateway.channel_intake
where case wanted when 'taken in' then true when 'removed' then false else is_served end

-- Which channels are served.
select channel_id from telegram_gateway.channels where is_active

-- Which channels are served.
select channel_id, label from telegram_gateway.channels where is_active

-- The lowest stored message id of a channel ($1). Plan: the first entry of the primary key for that channel.
select min(message_id) from telegram_gateway.message_keys where channel_id = $1

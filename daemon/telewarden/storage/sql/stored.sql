-- Which of some messages ($2) of a channel ($1) are stored. Plan: message_keys' primary key.
select message_id from telegram_gateway.message_keys where channel_id = $1 and message_id = any($2::bigint[])

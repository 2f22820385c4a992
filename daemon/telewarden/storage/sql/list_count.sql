-- How many messages all pages of a list hold. Bounded in time by who asks.
select count(*) from telegram_gateway.messages m where {conditions}

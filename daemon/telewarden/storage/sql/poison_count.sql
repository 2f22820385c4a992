-- How many events were set aside and not decided on.
select count(*) from telegram_gateway.poison_events where outcome is null

drop function telegram_gateway.channel_lag();
drop function telegram_gateway.channel_statistics(text, timestamptz);
drop function telegram_gateway.unprocessed(text, integer);

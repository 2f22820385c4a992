drop table telegram_gateway.forwarding_rules;
drop table telegram_gateway.channels;
drop table telegram_gateway.messages;
drop function telegram_gateway.touch_updated_at();

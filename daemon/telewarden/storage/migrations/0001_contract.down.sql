drop table telegram_gateway.forwarding_rules;
drop table telegram_gateway.channels;
drop table telegram_gateway.messages;
drop function telegram_gateway.touch_updated_at() cascade;
-- What an old gateway left is there again, under its own name.
alter table if exists telegram_gateway.messages_before rename to messages;

drop table telegram_gateway.poison_events;
drop table telegram_gateway.message_revisions;
drop table telegram_gateway.acknowledgements;
drop table telegram_gateway.message_keys;
drop table telegram_gateway.epochs;

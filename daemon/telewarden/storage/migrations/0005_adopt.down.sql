drop table telegram_gateway.messages_replaced;

-- The time before which no message waits that consumers poll for; read before the poll itself.
select floor from telegram_gateway.poll_floor

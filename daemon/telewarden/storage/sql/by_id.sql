-- One message by its id. Plan: index message_keys_id, then (id, created_at) of its day.
select {state}
from telegram_gateway.message_keys k
join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at
where k.id = $1
limit 1

-- Every channel, or one ($1) by its row.
select id, channel_id, label, description, is_active, created_at, updated_at
from telegram_gateway.channels
where $1::bigint is null or id = $1
order by id

-- A page of a list; the conditions and their values are put together by listing.py. The keys are joined to the page alone.
-- Plan: the index of the narrowest condition; without one every day is read.
select {state}
from (
    select * from telegram_gateway.messages m
    where {conditions}
    order by {order}
    limit {limit} offset {offset}
) m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
order by {order}

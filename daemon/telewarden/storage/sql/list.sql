-- A page of a list; the conditions and their values are put together by listing.py. The keys are joined to the page alone.
-- Plan: index messages_listed of every day, until the page is full; or the index of a condition that leaves less, and a sort.
-- {apart} keeps the first from being taken where it would look through the days before a time for nothing.
select {state}
from (
    select * from (select * from telegram_gateway.messages m where {conditions} {apart}) m
    order by {order}
    limit {limit} offset {offset}
) m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
order by {order}

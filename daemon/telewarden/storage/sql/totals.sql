-- How many messages there are by status; the condition is put together by glance.py. Bounded in time by who asks.
-- Plan: index messages_status alone, of every day.
select m.status, count(*) as count from telegram_gateway.messages m where {condition} group by m.status

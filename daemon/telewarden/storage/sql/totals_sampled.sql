-- About how many: from one page in a hundred.
select m.status, count(*) * 100 as count from telegram_gateway.messages m tablesample system (1)
where {condition} group by m.status

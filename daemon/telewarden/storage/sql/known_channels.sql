-- Which of some channels ($1) are or were taken in. Plan: two primary keys.
select given.channel_id from unnest($1::text[]) as given (channel_id)
where exists (select from telegram_gateway.channels c where c.channel_id = given.channel_id::bigint)
    or exists (select from telegram_gateway.message_keys k where k.channel_id = given.channel_id)

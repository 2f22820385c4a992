-- An event that the database refuses.
insert into telegram_gateway.poison_events (epoch, position, channel_id, message_id, event, error)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing

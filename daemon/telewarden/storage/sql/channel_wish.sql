-- The process that takes in is to do this ($2) with a channel ($1); what was wanted before is void.
insert into telegram_gateway.channel_intake (channel_id, wanted, wish)
values ($1, $2, 1)
on conflict (channel_id) do update set wanted = excluded.wanted, wish = channel_intake.wish + 1

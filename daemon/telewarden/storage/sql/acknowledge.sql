-- Who acknowledged what; the latest time stays.
insert into telegram_gateway.acknowledgements (channel_id, message_id, consumer, acknowledged_at)
select * from unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[])
on conflict (channel_id, message_id, consumer)
do update set acknowledged_at = greatest(acknowledgements.acknowledged_at, excluded.acknowledged_at)

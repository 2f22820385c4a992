-- Keys seen for the first time. Fewer rows come back than went in if another process was first: the batch repeats.
insert into telegram_gateway.message_keys
    (channel_id, message_id, id, created_at, content_version, status_at, epoch, position)
select * from unnest($1::text[], $2::bigint[], $3::uuid[], $4::timestamptz[], $5::bigint[], $6::timestamptz[],
                     $7::bigint[], $8::bigint[])
on conflict (channel_id, message_id) do nothing
returning channel_id, message_id

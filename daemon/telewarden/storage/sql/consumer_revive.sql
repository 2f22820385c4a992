-- Serve dead letters of a consumer ($1) again that a key may read ($2, null for all): those at $3 epochs, $4 positions, or
-- all where these are null. The deliveries so far are forgiven. Plan: deliveries_dead, in its order.
update telegram_gateway.deliveries d set dead_at = null, due_at = now(), is_leased = false, forgiven = d.deliveries
where d.consumer = $1 and d.dead_at is not null
    and ($2::text[] is null or d.channel_id = any($2::text[]))
    and ($3::bigint[] is null or (d.epoch, d.position) in (select * from unnest($3::bigint[], $4::bigint[])))
returning 1

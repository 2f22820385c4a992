-- Earlier contents of edited messages; written once.
insert into telegram_gateway.message_revisions
    (channel_id, message_id, content_version, text, caption, media_type, media_refs, metadata)
select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[])
on conflict do nothing

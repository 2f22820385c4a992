-- upkeep() as 0003 has it.
create or replace function telegram_gateway.upkeep(
    keep interval default interval '90 days', ahead integer default 2,
    out made integer, out dropped integer, out floor timestamptz
) language plpgsql security definer set search_path = telegram_gateway, pg_temp as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    day date;
begin
    perform pg_advisory_xact_lock(2116946478);
    made := 0;
    dropped := 0;
    if telegram_gateway.storage_kind() = 'plain' then
        for day in
            select today + generate_series(0, ahead)
            union
            -- Days that nobody made in time.
            select distinct (created_at at time zone 'UTC')::date from telegram_gateway.messages_default
            where created_at >= now() - keep
            order by 1
        loop
            made := made + telegram_gateway.add_day(day)::integer;
        end loop;
        dropped := telegram_gateway.drop_days(now() - keep);
    else
        -- Not by a retention policy of TimescaleDB: that has a number of days of its own, which the daemon may not change.
        execute format(
            'select count(*) from %I.drop_chunks(''telegram_gateway.messages'', older_than => $1)',
            (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'timescaledb')
        ) into dropped using now() - keep;
    end if;
    floor := telegram_gateway.move_poll_floor();
end $$;
drop function telegram_gateway.move_feed_floor(timestamptz);
drop function telegram_gateway.drop_consumer(text);
drop function telegram_gateway.configure_consumer(text, text[], boolean, text[], text[], integer, text, timestamptz);
drop function telegram_gateway.hold_deliveries(text, bigint[], bigint[], integer[], interval, text);
drop function telegram_gateway.settle_deliveries(text, bigint[], bigint[]);
drop function telegram_gateway.lease_deliveries(text, text[], integer, interval);
drop function telegram_gateway.feed_position_at(timestamptz);
drop function telegram_gateway.feed_head();
drop function telegram_gateway.feed_channels();
drop table telegram_gateway.api_keys;
drop table telegram_gateway.deliveries;
drop table telegram_gateway.consumers;
drop table telegram_gateway.handed_over;
drop table telegram_gateway.feed_floor;
drop table telegram_gateway.message_changes;
drop index telegram_gateway.message_keys_feed;

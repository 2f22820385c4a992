-- Who may do what, again after each upgrade: harmless to repeat. Roles belong to the whole server; where this role may
-- not create them, an administrator does, and the next `telewarden db upgrade` gives them their rights.
do $$
declare
    wanted text;
    object record;
    may_create constant boolean := (select rolsuper or rolcreaterole from pg_roles where rolname = current_user);
    super constant boolean := (select rolsuper from pg_roles where rolname = current_user);
    owns_database constant boolean :=
        (select pg_has_role(datdba, 'usage') from pg_database where datname = current_database());
begin
    foreach wanted in array array['telegram_owner', 'telegram', 'telegram_reader'] loop
        if exists (select from pg_roles where rolname = wanted) then
            continue;
        elsif may_create then
            begin
                execute format('create role %I nologin', wanted);
            exception when duplicate_object or unique_violation then
                null; -- another upgrade, in another database of this server, was quicker
            end;
        else
            raise notice 'role % is not there, and % may not create roles: ask an administrator to', wanted, current_user;
        end if;
    end loop;

    -- The daemon: reads and writes rows. It deletes none and changes no table; upkeep() does, on the owner's behalf.
    if exists (select from pg_roles where rolname = 'telegram') then
        if owns_database then
            execute format('grant connect on database %I to telegram', current_database());
        end if;
        grant usage on schema telegram_gateway to telegram;
        grant select, insert, update on all tables in schema telegram_gateway to telegram;
        revoke insert, update on telegram_gateway.schema_version, telegram_gateway.messages_replaced from telegram;
        grant usage on all sequences in schema telegram_gateway to telegram;
        grant execute on all functions in schema telegram_gateway to telegram;
    end if;
    -- Dashboards: read.
    if exists (select from pg_roles where rolname = 'telegram_reader') then
        if owns_database then
            execute format('grant connect on database %I to telegram_reader', current_database());
        end if;
        grant usage on schema telegram_gateway to telegram_reader;
        grant select on all tables in schema telegram_gateway to telegram_reader;
        revoke select on telegram_gateway.api_keys from telegram_reader;
        grant execute on function telegram_gateway.unprocessed(text, integer),
            telegram_gateway.channel_statistics(text, timestamptz), telegram_gateway.channel_lag() to telegram_reader;
    end if;
    -- Nobody else may call what works with the owner's rights.
    revoke execute on all functions in schema telegram_gateway from public;

    -- The owner: upgrades. Only a superuser can give things away.
    if super and exists (select from pg_roles where rolname = 'telegram_owner') then
        execute format('grant connect, create on database %I to telegram_owner', current_database());
        alter schema telegram_gateway owner to telegram_owner;
        if telegram_gateway.storage_kind() = 'timescale' then
            -- TimescaleDB runs its policies as the tables' owner, and only as one that may log in. It gets no password.
            alter role telegram_owner login;
        end if;
        for object in
            select case
                    -- A continuous aggregate is a view to PostgreSQL, but TimescaleDB takes no ALTER VIEW of it.
                    when c.relkind = 'm' or c.relname in ('messages_hourly', 'messages_daily') then 'materialized view'
                    when c.relkind = 'v' then 'view'
                    else 'table'
                end as kind,
                c.relname as name
            from pg_class c
            where c.relnamespace = 'telegram_gateway'::regnamespace and c.relkind in ('r', 'p', 'm', 'v')
                and c.relowner <> 'telegram_owner'::regrole
        loop
            execute format('alter %s telegram_gateway.%I owner to telegram_owner', object.kind, object.name);
        end loop;
        for object in
            select p.oid::regprocedure as name from pg_proc p
            where p.pronamespace = 'telegram_gateway'::regnamespace and p.proowner <> 'telegram_owner'::regrole
        loop
            execute format('alter function %s owner to telegram_owner', object.name);
        end loop;
    end if;
end $$;

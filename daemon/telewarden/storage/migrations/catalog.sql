-- The schema's objects, one a row, as text that is equal where the objects are. Days and what belongs to an extension
-- are left out, and so is the old gateway's table.
with tables as (
    select c.oid, c.relname, c.relkind from pg_class c
    where c.relnamespace = 'telegram_gateway'::regnamespace and c.relkind in ('r', 'p', 'm', 'v')
        and c.relname !~ '^messages_\d{8}$' and c.relname not in ('messages_before')
)
select 'column' as kind, t.relname || '.' || a.attname as name,
    format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    || case when a.attidentity <> '' then ' identity' else '' end as definition
from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = t.oid and d.adnum = a.attnum
where t.relkind in ('r', 'p')
union all
select 'constraint', t.relname || '.' || c.conname, pg_get_constraintdef(c.oid)
from tables t join pg_constraint c on c.conrelid = t.oid where c.contype in ('p', 'u', 'c', 'f')
union all
select 'index', i.relname, regexp_replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON ')
    || case when x.indisvalid then '' else ' (not valid)' end
from tables t join pg_index x on x.indrelid = t.oid join pg_class i on i.oid = x.indexrelid
where t.relname <> 'messages_default'
union all
select 'trigger', t.relname || '.' || g.tgname, pg_get_triggerdef(g.oid) || case when g.tgenabled = 'D' then ' (disabled)' else '' end
from tables t join pg_trigger g on g.tgrelid = t.oid
where not g.tgisinternal and t.relname <> 'messages_default'
    and (g.tgname like '%\_updated\_at' or g.tgname = 'messages_poll_floor')
union all
select 'function', p.oid::regprocedure::text,
    pg_get_function_result(p.oid) || ' md5 ' || md5(p.prosrc) || case when p.prosecdef then ' security definer' else '' end
from pg_proc p where p.pronamespace = 'telegram_gateway'::regnamespace
union all
select 'view', t.relname, '' from tables t where t.relkind in ('m', 'v')
union all
select 'right', r.rolname || ' on ' || t.relname,
    concat_ws(', ',
        case when has_table_privilege(r.oid, t.oid, 'select') then 'select' end,
        case when has_table_privilege(r.oid, t.oid, 'insert') then 'insert' end,
        case when has_table_privilege(r.oid, t.oid, 'update') then 'update' end,
        case when has_table_privilege(r.oid, t.oid, 'delete') then 'delete' end,
        case when has_table_privilege(r.oid, t.oid, 'truncate') then 'truncate' end)
from tables t, pg_roles r where r.rolname in ('telegram', 'telegram_reader')
order by kind, name

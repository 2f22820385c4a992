-- These ($1) have a position now.
update telegram_gateway.handed_over set taken_at = now() where id = any($1::bigint[]) and taken_at is null

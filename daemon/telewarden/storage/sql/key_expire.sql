-- A key ($1) is valid for $2 more at most.
update telegram_gateway.api_keys set expires_at = least(expires_at, now() + $2::interval) where id = $1

update telegram_gateway.channels set label = $2, description = $3, is_active = $4
where id = $1
returning id, channel_id, label, description, is_active, created_at, updated_at

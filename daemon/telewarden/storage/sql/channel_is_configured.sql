-- Whether a channel ($1) stands in the settings of the process that takes in.
select exists (
    select from telegram_gateway.channel_intake where channel_id = $1 and is_configured
)

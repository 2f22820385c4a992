drop function telegram_gateway.remove_channel(bigint);
-- The version before takes a channel that may be polled for an active one.
update telegram_gateway.channels c set is_active = true
from telegram_gateway.channel_intake i where i.channel_id = c.channel_id and i.is_served and not c.is_active;
drop table telegram_gateway.channel_intake;

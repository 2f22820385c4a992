-- Days made ahead, old ones dropped ($1: how long they are kept), the poll floor moved.
select made, dropped, floor from telegram_gateway.upkeep($1)

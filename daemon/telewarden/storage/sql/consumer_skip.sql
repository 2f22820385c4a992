-- Settle deliveries whose message is gone with its day ($1 consumer, $2 epochs, $3 positions), and tell the consumer.
with gone as (select * from telegram_gateway.settle_deliveries($1, $2, $3))
update telegram_gateway.consumers c set skipped_by_retention = true
where c.name = $1 and exists (select from gone)

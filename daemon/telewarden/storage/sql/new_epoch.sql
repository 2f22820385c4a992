-- A number for a new journal, above all that this database holds: it may be one that was put back from a backup, or made
-- anew, while a journal went on under a number that it never gave; positions and cursors must not go back.
insert into telegram_gateway.epochs (epoch) overriding system value
select greatest(
    nextval(pg_get_serial_sequence('telegram_gateway.epochs', 'epoch')),
    1 + (select max(e.epoch) from telegram_gateway.epochs e),
    1 + (select h.epoch from telegram_gateway.feed_head() h),
    1 + (select f.epoch from telegram_gateway.feed_floor f),
    1 + (select max(c.furthest_epoch) from telegram_gateway.consumers c)
)
returning epoch

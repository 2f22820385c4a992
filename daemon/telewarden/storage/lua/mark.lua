-- Sets the completeness mark, renews it if it is still the caller's, or drops whichever is there. It stands only while the
-- counts of its own warm do: after a FLUSHALL, which leaves the history as it is, or another clear that came late, pages are
-- missing.
-- ARGV: prefix, mark ("history:generation:plain"), lease in ms, 'set', 'renew' or 'drop'.
-- Returns 1, or 0 if this server is not a master in that history, or the mark or the warm is gone or another's.
local info = redis.call('INFO', 'replication')
local history = string.match(info, 'master_replid:(%x+)')
if not string.find(info, 'role:master', 1, true) or string.match(ARGV[2], '^(%x+):') ~= history then
  return 0
end
local key = ARGV[1] .. 'mark'
if ARGV[4] == 'drop' then
  return redis.call('DEL', key)
end
if redis.call('HGET', ARGV[1] .. 'counts', 'warm') ~= ARGV[2] then
  return 0
end
if ARGV[4] == 'set' then
  redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
  return 1
end
if redis.call('GET', key) ~= ARGV[2] then
  return 0
end
if tonumber(ARGV[3]) > 0 then
  redis.call('PEXPIRE', key, ARGV[3])
end
return 1

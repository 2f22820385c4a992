-- Sets the completeness mark if it is still its warm's turn (see apply.lua), renews it if it is still the caller's, or drops whichever is there.
-- ARGV: prefix, mark ("history:generation:plain"), lease in ms, 'set', 'renew' or 'drop'.
-- Returns 1, or 0 if this server is not a master in that history, or the mark is gone or another's.
local info = redis.call('INFO', 'replication')
local history = string.match(info, 'master_replid:(%x+)')
if not string.find(info, 'role:master', 1, true) or string.match(ARGV[2], '^(%x+):') ~= history then
  return 0
end
local key = ARGV[1] .. 'mark'
if ARGV[4] == 'set' then
  local warm = string.match(redis.call('GET', ARGV[1] .. 'turn') or '', '^(%S+) %d+$')
  if not warm or string.match(ARGV[2], '^%x+:([^:]+):') ~= warm then
    return 0
  end
  redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
  return 1
end
if ARGV[4] == 'drop' then
  return redis.call('DEL', key)
end
if redis.call('GET', key) ~= ARGV[2] then
  return 0
end
if tonumber(ARGV[3]) > 0 then
  redis.call('PEXPIRE', key, ARGV[3])
end
return 1

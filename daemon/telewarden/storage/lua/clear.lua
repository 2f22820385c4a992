-- Begins a warm: the mark goes together with the sets, and from now on it is this warm's turn (see apply.lua).
-- Tombstones and bodies stay.
-- ARGV: prefix, history, warm. Returns 1, or 0 if this server is not a master in that history.
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) or string.match(info, 'master_replid:(%x+)') ~= ARGV[2] then
  return 0
end
local prefix = ARGV[1]
redis.call('DEL', prefix .. 'mark')
for _, channel in ipairs(redis.call('SMEMBERS', prefix .. 'channels')) do
  redis.call('UNLINK', prefix .. 'pending:' .. channel, prefix .. 'overflow:' .. channel)
end
redis.call('DEL', prefix .. 'channels')
redis.call('SET', prefix .. 'turn', ARGV[3] .. ' 0')
return 1

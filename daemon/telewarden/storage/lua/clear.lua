-- Begins a warm: the mark goes together with the sets, and the key `step` says from now on who may write: see apply.lua.
-- Tombstones and bodies stay.
-- ARGV: prefix, the mark that is to be set at the end ("history:generation"). Returns 1, or 0 if this server is not a master in that history.
local info = redis.call('INFO', 'replication')
local history = string.match(info, 'master_replid:(%x+)')
if not string.find(info, 'role:master', 1, true) or string.match(ARGV[2], '^(%x+):') ~= history then
  return 0
end
local prefix = ARGV[1]
redis.call('DEL', prefix .. 'mark')
for _, channel in ipairs(redis.call('SMEMBERS', prefix .. 'channels')) do
  redis.call('UNLINK', prefix .. 'pending:' .. channel, prefix .. 'overflow:' .. channel)
end
redis.call('DEL', prefix .. 'channels')
redis.call('SET', prefix .. 'step', ARGV[2] .. ' 0')
return 1

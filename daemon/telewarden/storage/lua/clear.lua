-- Begins a warm: the mark goes together with the sets, and a note stays that this very warm cleared them, without which its
-- mark cannot be set (see mark.lua). Tombstones and bodies stay.
-- ARGV: prefix, mark that the warm will set ("history:generation"). Returns 1, or 0 if this server is not a master in that
-- history.
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
redis.call('SET', prefix .. 'warm', ARGV[2])
return 1

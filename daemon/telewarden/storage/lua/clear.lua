-- Begins a warm: the mark goes together with the sets, and the counts begin anew. From now on it is this very warm's turn
-- (see apply.lua), and only its mark can be set (see mark.lua). Tombstones and bodies stay.
-- Whatever is there under these names goes, of whatever type: nothing else may use the prefix.
-- ARGV: prefix, mark that the warm will set ("history:generation:plain"), then the channels that are served. Returns 1, or 0
-- if this server is not a master in that history.
local info = redis.call('INFO', 'replication')
local history = string.match(info, 'master_replid:(%x+)')
if not string.find(info, 'role:master', 1, true) or string.match(ARGV[2], '^(%x+):') ~= history then
  return 0
end
local prefix = ARGV[1]
local counts = prefix .. 'counts'
redis.call('DEL', prefix .. 'mark')
if redis.call('TYPE', counts)['ok'] == 'hash' then
  for _, channel in ipairs(redis.call('HKEYS', counts)) do
    redis.call('UNLINK', prefix .. 'pending:' .. channel, prefix .. 'overflow:' .. channel)
  end
end
redis.call('DEL', counts)
redis.call('HSET', counts, 'warm', ARGV[2], 'turn', 0)
for i = 3, #ARGV do
  redis.call('UNLINK', prefix .. 'pending:' .. ARGV[i], prefix .. 'overflow:' .. ARGV[i])
  redis.call('HSET', counts, ARGV[i], 0)
end
return 1

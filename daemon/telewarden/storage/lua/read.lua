-- Reads one channel's pending messages, but only if the completeness mark proves that they are all here.
-- ARGV: prefix, expected mark, channel, limit, '1' to give them one by one, bytes of bodies at most, then message ids
-- to ask about. A mark is "history:generation:plain" or "…:mixed". Who has set none expects "history:*:" (any, in that
-- history) or "history:*:plain".
-- Returns {reason} if the cache cannot be trusted; otherwise
-- {'whole', parts of the list of bodies} or
-- {'listed', members and their scores in turn, parts of the list of bodies (false where expired), done flags}.
-- The bodies go back as they come: joining them here takes longer than all the rest.
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return {'not a master'}
end
local prefix, channel = ARGV[1], ARGV[3]
local mark = redis.pcall('GET', prefix .. 'mark')
if type(mark) == 'table' then
  redis.call('DEL', prefix .. 'mark')
  return {'wrong type'}
end
if not mark then
  return {'no mark'}
end
local history = string.match(info, 'master_replid:(%x+)')
local expected, ending = string.match(ARGV[2], '^(%x+):%*:(%a*)$')
if expected and expected ~= history then
  return {'other history'}
end
if not expected and mark ~= ARGV[2] then
  return {'other mark'}
end
if string.match(mark, '^(%x+):') ~= history then
  return {'other history'}
end
if expected and ending ~= '' and string.match(mark, ':(%a+)$') ~= ending then
  return {'not only plain messages wait'}
end
if redis.call('EXISTS', prefix .. 'overflow:' .. channel) == 1 then
  return {'overflow'}
end
local pending, last = prefix .. 'pending:' .. channel, tonumber(ARGV[4]) - 1
local count = redis.call('HGET', prefix .. 'counts', channel)
if not count then
  return {'incomplete'}
end
local waiting = redis.pcall('ZCARD', pending)
if waiting ~= tonumber(count) then
  -- Thrown away, or changed by somebody else: nothing is proven any more, and the mark's owner will notice.
  redis.call('DEL', prefix .. 'mark')
  return {type(waiting) == 'table' and 'wrong type' or 'incomplete'}
end
local members = redis.call('ZRANGE', pending, 0, last)
local body, sub = prefix .. 'msg:' .. channel .. ':', string.sub
local parts, whole, bytes, most = {}, true, 0, tonumber(ARGV[6])
for first = 1, #members, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #members) do
    keys[#keys + 1] = body .. sub(members[i], 38)
  end
  local values = redis.call('MGET', unpack(keys))
  for i = 1, #keys do
    local value = values[i]
    if value then
      bytes = bytes + #value
    else
      whole = false
    end
  end
  if bytes > most then
    return {'too large'}
  end
  parts[#parts + 1] = values
end
if ARGV[5] ~= '1' and whole then
  return {'whole', parts}
end
local done = {}
for i = 7, #ARGV do
  done[#done + 1] = redis.call('EXISTS', prefix .. 'done:' .. channel .. ':' .. ARGV[i])
end
return {'listed', redis.call('ZRANGE', pending, 0, last, 'WITHSCORES'), parts, done}

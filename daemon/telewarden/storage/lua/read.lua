-- Reads one channel's pending messages, but only if the completeness mark proves that they are all here.
-- ARGV: prefix, expected mark, channel, limit, '1' to give bodies one by one, bytes of bodies at most, then message ids
-- to ask about.
-- Returns {reason} if the cache cannot be trusted; otherwise
-- {'joined', count, bodies joined by commas} or {'listed', members, bodies (false where expired), done flags}.
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
if mark ~= ARGV[2] then
  return {'other mark'}
end
if string.match(mark, '^(%x+):') ~= string.match(info, 'master_replid:(%x+)') then
  return {'other history'}
end
if redis.call('EXISTS', prefix .. 'overflow:' .. channel) == 1 then
  return {'overflow'}
end
local count = redis.call('HGET', prefix .. 'counts', channel)
if not count then
  return {'incomplete'}
end
local waiting = redis.pcall('ZCARD', prefix .. 'pending:' .. channel)
if waiting ~= tonumber(count) then
  -- Thrown away, or changed by somebody else: nothing is proven any more, and the mark's owner will notice.
  redis.call('DEL', prefix .. 'mark')
  return {type(waiting) == 'table' and 'wrong type' or 'incomplete'}
end
local members = redis.call('ZRANGE', prefix .. 'pending:' .. channel, 0, tonumber(ARGV[4]) - 1)
local bodies, whole, bytes, most = {}, true, 0, tonumber(ARGV[6])
for first = 1, #members, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #members) do
    keys[#keys + 1] = prefix .. 'msg:' .. channel .. ':' .. string.sub(members[i], 38)
  end
  local values = redis.call('MGET', unpack(keys))
  for i = 1, #keys do
    bodies[#bodies + 1] = values[i]
    whole = whole and values[i] ~= false
    bytes = bytes + (values[i] and #values[i] or 0)
  end
  if bytes > most then
    return {'too large'}
  end
end
if ARGV[5] ~= '1' and whole then
  return {'joined', #members, table.concat(bodies, ',')}
end
local done = {}
for i = 7, #ARGV do
  done[#done + 1] = redis.call('EXISTS', prefix .. 'done:' .. channel .. ':' .. ARGV[i])
end
return {'listed', members, bodies, done}

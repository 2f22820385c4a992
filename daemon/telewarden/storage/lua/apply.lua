-- Applies events to the cache, atomically, and only in the replication history that the caller knows.
-- A turn (which warm, and a number) makes sure that nothing is done late: not after a later turn, another warm, or a
-- FLUSHALL. Without a turn come operations that are right at any time, as `done` is.
-- ARGV: prefix, history, warm (or empty), number of the turn, body ttl, done ttl, seen ttl, pending bound, recent length,
-- then operations, seven values each:
--   operation, channel, message id, member of the pending set, score, body, telegram date in ms
-- Operations: pend (enter the pending set unless done), body (replace a body that is there), seen (known, nothing
-- more), drop (forget a body whose newest text is not at hand), done (leave the pending set for good; a member that
-- begins with ? is a guess, and else whichever has that message id leaves).
-- How many wait is counted beside the sets, so that a set which somebody else has changed or thrown away is noticed.
-- Returns 1, or 0 if this server is not a master in that history, or the turn is over; then nothing was written.
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) or string.match(info, 'master_replid:(%x+)') ~= ARGV[2] then
  return 0
end
local prefix, body_ttl, done_ttl, seen_ttl = ARGV[1], ARGV[5], ARGV[6], ARGV[7]
local counts = prefix .. 'counts'
if ARGV[3] ~= '' then
  local turn = redis.call('HMGET', counts, 'warm', 'turn')
  if turn[1] ~= ARGV[3] or tonumber(turn[2]) >= tonumber(ARGV[4]) then
    return 0
  end
  redis.call('HSET', counts, 'turn', ARGV[4])
end
local joined = {}
local function joins(channel, by)
  joined[channel] = (joined[channel] or 0) + by
end
local indexes = {}
local function indexed(channel, pending)
  if not indexes[channel] then
    local index = {}
    for _, found in ipairs(redis.call('ZRANGE', pending, 0, -1)) do
      index[string.sub(found, 38)] = found
    end
    indexes[channel] = index
  end
  return indexes[channel]
end
local bound, recent_length = tonumber(ARGV[8]), tonumber(ARGV[9])
for i = 10, #ARGV, 7 do
  local op, channel, message, member, score, body, date =
    ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  local id = channel .. ':' .. message
  local pending = prefix .. 'pending:' .. channel
  if op == 'pend' then
    if redis.call('EXISTS', prefix .. 'done:' .. id) == 0 then
      joins(channel, redis.call('ZADD', pending, score, member))
      if indexes[channel] then
        indexes[channel][message] = member
      end
      if redis.call('ZCARD', pending) > bound then
        redis.call('SET', prefix .. 'overflow:' .. channel, '1')
      end
      redis.call('SET', prefix .. 'msg:' .. id, body, 'EX', body_ttl)
    end
    redis.call('SET', prefix .. 'dedup:' .. id, '1', 'EX', seen_ttl)
    if date ~= '' then
      local recent = prefix .. 'channel:' .. channel .. ':recent'
      if type(redis.pcall('ZADD', recent, date, message)) == 'table' then
        -- It holds another type, of somebody who should not use the prefix. As a string, it is replaced.
        redis.call('DEL', recent)
        redis.call('ZADD', recent, date, message)
      end
      redis.call('ZREMRANGEBYRANK', recent, 0, -recent_length - 1)
    end
  elseif op == 'body' then
    redis.call('SET', prefix .. 'msg:' .. id, body, 'XX', 'EX', body_ttl)
  elseif op == 'seen' then
    redis.call('SET', prefix .. 'dedup:' .. id, '1', 'EX', seen_ttl)
  elseif op == 'drop' then
    redis.call('DEL', prefix .. 'msg:' .. id)
  elseif op == 'done' then
    redis.call('SET', prefix .. 'done:' .. id, '1', 'EX', done_ttl)
    local guess = string.match(member, '^%?(.*)$')
    local removed = redis.call('ZREM', pending, guess or member)
    joins(channel, -removed)
    if guess and removed == 0 then
      -- Its row has another id, which is not known any more: the set is looked through, once in a call.
      local found = indexed(channel, pending)[message]
      if found then
        joins(channel, -redis.call('ZREM', pending, found))
      end
    end
    -- All that wait are in the set, however many they are; with few enough it answers again.
    if redis.call('ZCARD', pending) <= bound then
      redis.call('DEL', prefix .. 'overflow:' .. channel)
    end
    if body ~= '' then
      redis.call('SET', prefix .. 'msg:' .. id, body, 'XX', 'EX', body_ttl)
    else
      redis.call('DEL', prefix .. 'msg:' .. id)
    end
  else
    return redis.error_reply('unknown operation ' .. op)
  end
end
for channel, by in pairs(joined) do
  -- Only those that the warm began with are known to be complete.
  if by ~= 0 and redis.call('HEXISTS', counts, channel) == 1 then
    redis.call('HINCRBY', counts, channel, by)
  end
end
return 1

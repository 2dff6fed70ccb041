-- head: a hash of revision and floor. rows: a hash of the values that exist.
-- revs: all keys, deleted ones too, by revision. live: the keys that exist.
local head, rows, revs, live = unpack(KEYS)
local verb, call = ARGV[1], redis.call
local rev = tonumber(call('HGET', head, 'rev') or 0)
local floor = tonumber(call('HGET', head, 'floor') or 0)
local keys, more = {}, 0

local function exists(key) return call('HEXISTS', rows, key) == 1 end

if verb == 'get' then
  for i = 2, #ARGV do
    if exists(ARGV[i]) then keys[#keys + 1] = ARGV[i] end
  end
elseif verb == 'list' then
  local limit = tonumber(ARGV[4])
  keys = call('ZRANGEBYLEX', live, ARGV[2], ARGV[3], 'LIMIT', 0, limit > 0 and limit + 1 or -1)
  if limit > 0 and #keys > limit then
    keys[#keys], more = nil, 1
  end
elseif verb == 'since' then
  if tonumber(ARGV[2]) < floor then return {'compacted'} end
  local after, limit, last = '(' .. ARGV[2], tonumber(ARGV[3]), '+inf'
  if limit > 0 then -- whole commits, until there are limit rows
    last = call('ZRANGEBYSCORE', revs, after, last, 'WITHSCORES', 'LIMIT', limit - 1, 1)[2] or last
    if call('ZCOUNT', revs, '(' .. last, '+inf') > 0 then more = 1 end
  end
  keys = call('ZRANGEBYSCORE', revs, after, last)
elseif verb == 'commit' then
  if ARGV[2] ~= 'any' and tonumber(ARGV[2]) ~= rev then return {'conflict'} end
  local writes = 4 + 2 * ARGV[3]
  for i = 4, writes - 1, 2 do
    local have = exists(ARGV[i]) and call('ZSCORE', revs, ARGV[i]) or 0
    if tonumber(have) ~= tonumber(ARGV[i + 1]) then return {'conflict'} end
  end
  rev = call('HINCRBY', head, 'rev', 1) -- all conditions hold
  for i = writes, #ARGV, 3 do
    call('ZADD', revs, rev, ARGV[i])
    if ARGV[i + 1] == '1' then
      call('HSET', rows, ARGV[i], ARGV[i + 2])
      call('ZADD', live, 0, ARGV[i])
    else
      call('HDEL', rows, ARGV[i])
      call('ZREM', live, ARGV[i])
    end
  end
  call('PUBLISH', head, rev)
end

local page = {call('HGET', head, 'rev') or '0', more}
for _, key in ipairs(keys) do
  page[#page + 1] = key
  page[#page + 1] = call('ZSCORE', revs, key)
  page[#page + 1] = call('HGET', rows, key)
end
return page

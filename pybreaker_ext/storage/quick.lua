-- What most events come to: a closed circuit that stays closed. It is asked, told of a success, or of
-- a failure that doesn't open it. Runs behind a prelude that sets `local now`, and in front of
-- machine.lua and keys.lua. These would say the same, at two to three times the cost: they have some
-- fifty functions, and each start of a program makes its functions anew. Whatever is missing, foreign
-- or not understood, expires, or needs more than the failures' counter written, is left to them.
-- keys.lua describes KEYS, ARGV, the hash and what is returned.

local keys = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local hash = redis.pcall('HMGET', KEYS[5],
  'generation', 'open_until', 'opened_at', 'trips', 'reason', 'permits', 'state', 'opened')

if keys[1] == CLOSED and hash[7] == CLOSED and keys[2] and keys[3] and hash[1] and hash[2] and hash[3] and hash[4]
  and (hash[5] == '' or hash[5] == MANUAL) and hash[6] == '' then
  local others = ' ' .. keys[3] .. ' ' .. hash[1] .. ' ' .. hash[2] .. ' ' .. hash[3] .. ' ' .. hash[4]
  if string.find(keys[2] .. others, '^%d+ %d+ %d+ %d+ %d+ %d+$')
    and math.max(keys[2], keys[3], hash[1], hash[2], hash[3], hash[4]) <= FOREVER
    and math.max(#keys[2], #keys[3], #hash[1], #hash[2], #hash[3], #hash[4]) <= 16 then
    local kind, generation = string.match(ARGV[1], '^(%l+) 0 (%d+)') -- 0: no trial
    local fail_max = string.match(ARGV[2], '^0 %d+ %S+ (%d+)') -- 0: no key_ttl
    local verdict, count
    if kind == 'ask' then
      verdict, count = ADMITTED, keys[2]
    elseif kind == 'success' and generation == hash[1] then
      verdict, count = COUNTED, '0'
    elseif kind == 'failure' and generation == hash[1] and fail_max and keys[2] + 1 < tonumber(fail_max) then
      verdict, count = COUNTED, string.format('%.0f', keys[2] + 1)
    end
    if verdict and fail_max then
      if count ~= keys[2] then
        redis.call('SET', KEYS[2], count)
      end
      return verdict .. ' 0 ' .. string.format('%.0f', math.floor(now / 1000)) .. '   closed ' .. count .. others .. ' '
        .. hash[5] .. '   '
    end
  end
end

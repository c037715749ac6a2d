-- What most events come to: a closed circuit is asked, or told of a success while no failures are
-- counted, and nothing changes. Runs behind a prelude that sets `local now`, and in front of
-- machine.lua and keys.lua. These say the same at twice the cost, because each start of a program
-- makes its functions anew, and they have some fifty. What is missing, foreign, not understood or
-- to be written is left to them. keys.lua describes KEYS, ARGV, the hash and what is returned.

local keys = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local hash = redis.pcall('HMGET', KEYS[5],
  'generation', 'open_until', 'opened_at', 'trips', 'reason', 'permits', 'state', 'opened')

if keys[1] == CLOSED and hash[7] == CLOSED then
  local kind, generation = string.match(ARGV[1], '^(%l+) 0 (%d+)') -- 0: no trial
  local verdict = kind == 'ask' and string.sub(ARGV[2], 1, 2) == '0 ' and ADMITTED -- no key_ttl to be renewed
    or kind == 'success' and generation == hash[1] and keys[2] == '0' and COUNTED
  if verdict and keys[2] and keys[3] and hash[1] and hash[2] and hash[3] and hash[4]
    and (hash[5] == '' or hash[5] == MANUAL) and hash[6] == '' then
    local numbers = keys[2] .. ' ' .. keys[3] .. ' ' .. hash[1] .. ' ' .. hash[2] .. ' ' .. hash[3] .. ' ' .. hash[4]
    if string.find(numbers, '^%d+ %d+ %d+ %d+ %d+ %d+$')
      and math.max(keys[2], keys[3], hash[1], hash[2], hash[3], hash[4]) <= FOREVER then
      return verdict .. ' 0 ' .. string.format('%.0f', math.floor(now / 1000)) .. '   closed ' .. numbers .. ' '
        .. hash[5] .. '   '
    end
  end
end

-- One event, applied to the keys of one circuit. Runs behind a prelude that sets
-- `local now`, the server's clock in microseconds, behind quick.lua, which has read the keys
-- and found more to do than it does itself, and behind machine.lua.
--
-- KEYS[1]  state            pybreaker's own: closed, open or half-open
-- KEYS[2]  fail_counter     pybreaker's own: a whole number
-- KEYS[3]  success_counter  pybreaker's own: a whole number
-- KEYS[4]  opened_at        pybreaker's own: whole seconds since the epoch
-- KEYS[5]  hash of what pybreaker has no key for:
--            generation  whole number
--            open_until  ms since the epoch
--            opened_at   ms since the epoch (KEYS[4] has only seconds)
--            trips       whole number
--            reason      failures, hold, manual or nothing
--            permits     "token:lease end in ms", separated by commas
--            state, opened   KEYS[1] and KEYS[4] as we last wrote or adopted them: when they
--                        differ from the keys, somebody else has written
-- KEYS[6]  with history: stream of changes of state, each with its fields
--            at          ms since the epoch
--            from, to    states
--            reason      as the record's after it
--            worker      who made it; empty for somebody who only wrote KEYS[1] or KEYS[4]
-- ARGV[1]  event   "kind trial generation token duration_ms luck worker"
--            kind        ask, success, failure, neutral, hold, renew, open, half_open, close, reset, read
--            trial       1: write something even if nothing changes, to learn whether the server takes
--                        writes; 0: don't
--            generation  of the permit (reports)
--            token       letters and digits; names the ask (ask and reports of probes); - for none
--            duration    in ms (open, hold)
--            luck        uniform in [0, 1) (failure)
--            worker      the caller's name, which may have blanks
-- ARGV[2]  policy  "key_ttl_ms history initial_state fail_max reset_timeout_ms success_threshold
--                  half_open_max_calls probe_timeout_ms multiplier maximum_ms jitter"
--            key_ttl     0: records don't expire
--            history     entries that the stream keeps; 0: none is made
-- returns one string of words, each of which may be empty, separated by blanks:
--   verdict, retry_after in ms, now in ms; state and generation before, empty when they are as after;
--   the record: state, fail_counter, success_counter, generation, open_until, opened_at, trips, reason,
--   permits; if the record was adopted but not stored, the generation that is stored, 0 for none; last,
--   the names of stored values that were not understood, separated by commas

local FIELDS = {'generation', 'open_until', 'opened_at', 'trips', 'reason', 'permits', 'state', 'opened'}
local ms = math.floor(now / 1000)
local strange = '' -- names of values that were not understood, separated by commas
local adopted_from -- if the record is missing or somebody else's: the generation that is stored

-- Most asks need no policy at all, so it is taken apart when first looked at.
local policy = setmetatable({}, {__index = function(this, name)
  setmetatable(this, nil)
  this.history, this.initial, this.fail_max, this.reset_timeout, this.success_threshold, this.half_open_max_calls,
    this.probe_timeout, this.multiplier, this.maximum, this.jitter =
    string.match(ARGV[2], '%S+ (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
  for _, number in ipairs({'fail_max', 'reset_timeout', 'success_threshold', 'half_open_max_calls', 'probe_timeout',
    'multiplier', 'maximum', 'jitter'}) do
    this[number] = tonumber(this[number])
  end
  return this[name]
end})

local function note(name)
  strange = (strange ~= '' and strange .. ',' or '') .. name
end

-- A stored whole number; nothing when it is missing or not understood.
local function whole(name, text)
  if not text then -- false is what Redis gives for a key that isn't there
    return nil
  end
  local number = not string.find(text, '%D') and tonumber(text)
  if not number or number > FOREVER or #text > 16 then
    note(name)
    return nil
  end
  return number
end

-- A number as text, which takes long to make, and most are needed more than once.
local texts = {}
local function digits(number)
  texts[number] = texts[number] or string.format('%.0f', number)
  return texts[number]
end

local function permits_from(text)
  local permits = {}
  if not text or text == '' then
    return permits
  end
  if string.gsub(text .. ',', '%w+:%d' .. string.rep('%d?', 15) .. ',', '') ~= '' then
    note('permits')
    return permits
  end
  for token, lease_end in string.gmatch(text, '(%w+):(%d+)') do
    permits[token] = math.min(tonumber(lease_end), FOREVER)
  end
  return permits
end

local function permits_to(permits)
  local texts = {}
  for token, lease_end in pairs(permits) do
    texts[#texts + 1] = token .. ':' .. digits(lease_end)
  end
  table.sort(texts)
  return table.concat(texts, ',')
end

local function reason_from(text)
  if text == '' or text == FAILURES or text == HOLD or text == MANUAL then
    return text
  elseif text then
    note('reason')
  end
  return ''
end

-- The state that is stored; nothing when it is missing or not understood.
local function state_from(keys)
  if not (keys[1] and keys[2] and keys[3]) then
    for i, name in ipairs({'state', 'fail_counter', 'success_counter'}) do
      if not keys[i] and redis.call('EXISTS', KEYS[i]) == 1 then -- of another type
        note(name)
      end
    end
  end
  local state = keys[1]
  if state == CLOSED or state == OPEN or state == HALF_OPEN then
    return state
  elseif state then
    note('state')
  end
end

-- Our hash as it was found, in the order of FIELDS; empty when it is none.
local function checked(found)
  if not found.err then
    return found
  end
  if not string.find(tostring(found.err), 'WRONGTYPE', 1, true) then
    redis.call('HMGET', KEYS[5], unpack(FIELDS)) -- fails again, with the server's own words
  end
  note('ext')
  return {wrong_type = true}
end

-- The record, taken from pybreaker's keys and our hash, and foreign writes adopted.
local function load(keys, hash)
  local state, permits = state_from(keys), permits_from(hash[6])
  local generation = whole('generation', hash[1])
  local open_until = generation and whole('open_until', hash[2])
  local opened_at = open_until and whole('opened_at', hash[3])
  local trips = opened_at and whole('trips', hash[4]) -- if there is one, all four are understood
  local last = trips and generation or 0
  if not state then
    adopted_from = last
    return missing(policy.initial, now, last)
  end
  local record = trips and {
    generation = generation, open_until = open_until, opened_at = opened_at, trips = trips,
    reason = reason_from(hash[5]), permits = permits,
  } or missing(state, now, last)
  record.state = state
  record.fail_counter = whole('fail_counter', keys[2]) or 0
  record.success_counter = whole('success_counter', keys[3]) or 0
  if not trips or hash[7] ~= state or (state == OPEN and hash[8] ~= (keys[4] or '')) then
    adopted_from = last
    adopt(record, state, math.min((whole('opened_at', keys[4]) or 0) * 1000, FOREVER), policy, ms)
  end
  return record
end

-- Writes pybreaker's keys where they differ. A new opened_at is ours to write only when we opened
-- the circuit: plain pybreaker writes its opened_at a moment before its state.
local function save_keys(record, keys, reopened)
  local changed = {}
  local function differ(i, wanted)
    if wanted ~= keys[i] then
      changed[#changed + 1], changed[#changed + 2] = KEYS[i], wanted
    end
  end
  differ(1, record.state)
  differ(2, digits(record.fail_counter))
  differ(3, digits(record.success_counter))
  if reopened and record.opened_at > 0 then
    differ(4, digits(math.floor(record.opened_at / 1000)))
  elseif reopened and keys[4] then
    redis.call('DEL', KEYS[4])
  end
  if #changed > 0 then
    redis.call('MSET', unpack(changed))
  end
end

-- Writes the fields of our hash that differ.
local function save_hash(record, hash, opened)
  local values = {
    digits(record.generation), digits(record.open_until), digits(record.opened_at), digits(record.trips),
    record.reason, permits_to(record.permits), record.state, opened,
  }
  local fields = {}
  for i, name in ipairs(FIELDS) do
    if values[i] ~= hash[i] then
      fields[#fields + 1], fields[#fields + 2] = name, values[i]
    end
  end
  if hash.wrong_type then
    redis.call('DEL', KEYS[5])
  end
  if #fields > 0 then
    redis.call('HSET', KEYS[5], unpack(fields))
  end
end

local function save(record, keys, hash, before)
  local opened = hash[8]
  local reopened = record.opened_at ~= before.opened_at
    or (record.state == OPEN and record.generation ~= before.generation)
  if reopened then
    opened = record.opened_at > 0 and digits(math.floor(record.opened_at / 1000)) or ''
  elseif adopted_from then
    opened = keys[4] or ''
  end
  save_keys(record, keys, reopened)
  if adopted_from or record.state ~= CLOSED or digits(record.generation) ~= hash[1] then
    save_hash(record, hash, opened) -- while it stays closed, there are only failures to count
  end
end

-- A history that can't be written (a key of another type, no right to) is no reason to decide nothing.
local function remember(from, to, reason, worker)
  if policy.history ~= '0' then
    redis.pcall('XADD', KEYS[6], 'MAXLEN', policy.history, '*',
      'at', digits(ms), 'from', from, 'to', to, 'reason', reason, 'worker', worker)
  end
end

-- A worker without a time for the keys takes away what others have given them, when it opens, half-opens or closes
-- a circuit. One that stays closed may expire under it, and begins anew: looking would make each ask dearer, and
-- there are only failures to forget. Where it may not, or a key is missing while its slot is moved, that is no
-- reason to decide nothing.
local function keep()
  for _, key in ipairs(KEYS) do
    redis.pcall('PERSIST', key)
  end
end

-- Idle circuits expire `key_ttl` after the last thing that still matters has ended. While closed
-- that is a call that may be under way, which isn't longer than a probe may be.
local function expire(record, key_ttl)
  local last = record.state == OPEN and math.max(ms, record.open_until) or later(ms, policy.probe_timeout)
  for _, lease_end in pairs(record.permits) do
    last = math.max(last, lease_end)
  end
  for _, key in ipairs(KEYS) do
    if last == FOREVER then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, digits(last - ms + key_ttl))
    end
  end
end

-- The words of a record; one that is as it was found goes back as it is stored.
local function words(record, keys, hash, as_found)
  if as_found and strange == '' and keys[2] and keys[3] and hash[5] and hash[6] then
    return keys[1] .. ' ' .. keys[2] .. ' ' .. keys[3] .. ' ' .. hash[1] .. ' ' .. hash[2] .. ' ' .. hash[3] .. ' '
      .. hash[4] .. ' ' .. hash[5] .. ' ' .. hash[6]
  end
  return table.concat({
    record.state, digits(record.fail_counter), digits(record.success_counter), digits(record.generation),
    digits(record.open_until), digits(record.opened_at), digits(record.trips), record.reason,
    permits_to(record.permits),
  }, ' ')
end

hash = checked(hash)
local record = load(keys, hash)
local before = {state = record.state, generation = record.generation, opened_at = record.opened_at}
local kind, trial, permitted, token, duration, luck, worker =
  string.match(ARGV[1], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)')
local event = {
  kind = kind, token = token, generation = tonumber(permitted), duration = tonumber(duration), luck = tonumber(luck),
}
local verdict, write = decide(record, event, policy, now, adopted_from)
local key_ttl = tonumber(string.match(ARGV[2], '^%d+'))
if write then
  save(record, keys, hash, before)
  if adopted_from and adopted_from > 0 then
    remember(hash[7] or before.state, before.state, '', '')
  end
  if record.generation ~= before.generation then
    remember(before.state, record.state, record.reason, worker)
  end
elseif trial == '1' and not hash.wrong_type then
  redis.call('HSET', KEYS[5], 'trial', '1')
  redis.call('HDEL', KEYS[5], 'trial')
end
-- A closed circuit in use writes nothing, and must not expire under its callers.
local in_use = key_ttl > 0 and verdict == ADMITTED and record.state == CLOSED
if key_ttl > 0 and write or in_use and redis.call('PTTL', KEYS[5]) < key_ttl / 2 + policy.probe_timeout then
  expire(record, key_ttl)
elseif key_ttl == 0 and write and (record.state ~= CLOSED or record.generation ~= before.generation) then
  keep()
end
local moved_from = ' '
if record.generation ~= before.generation or record.state ~= before.state then
  moved_from = before.state .. ' ' .. digits(before.generation)
end
local wait = retry_after(record, policy, ms)
return verdict .. ' ' .. (wait == 0 and '0' or digits(wait)) .. ' ' .. digits(ms) .. ' ' .. moved_from .. ' '
  .. words(record, keys, hash, not write and not adopted_from and not record.dirty) .. ' '
  .. (not write and adopted_from and digits(adopted_from) or '') .. ' ' .. strange

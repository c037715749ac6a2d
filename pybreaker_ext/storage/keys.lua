-- One event, applied to the keys of one circuit. Runs behind a prelude that sets
-- `local now`, the server's clock in microseconds, and machine.lua.
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
-- ARGV[1]  event   ask, success, failure, neutral, hold, renew, open, half_open, close, reset, read
-- ARGV[2]  policy  "initial_state fail_max reset_timeout_ms success_threshold half_open_max_calls
--                  probe_timeout_ms multiplier maximum_ms jitter"
-- ARGV[3]  key_ttl in ms; 0: records don't expire
-- ARGV[4]  token   letters and digits; names the ask (ask and reports)
-- ARGV[5]  generation of the permit (reports)
-- ARGV[6]  duration in ms (open, hold)
-- ARGV[7]  luck, uniform in [0, 1) (failure)
-- ARGV[8]  1: write something even if nothing changes, to learn whether the server takes writes; 0: don't
-- returns one string, separated by blanks, '-' for nothing:
--   verdict, retry_after in ms, now in ms, state and generation before, then the record: state,
--   generation, fail_counter, success_counter, opened_at, open_until, trips, reason, permits;
--   if the record was adopted but not stored, the generation that is stored, 0 for none; last, the
--   names of stored values that were not understood, separated by commas

local FIELDS = {'generation', 'open_until', 'opened_at', 'trips', 'reason', 'permits', 'state', 'opened'}
local STATES = {[CLOSED] = true, [OPEN] = true, [HALF_OPEN] = true}
local REASONS = {[FAILURES] = true, [HOLD] = true, [MANUAL] = true, [''] = true}
local ms = math.floor(now / 1000)
local strange = {} -- names of values that were not understood
local adopted_from -- if the record is missing or somebody else's: the generation that is stored

-- Most asks need no policy at all, so it is taken apart when first looked at.
local policy = setmetatable({}, {__index = function(this, name)
  local words = {}
  for word in string.gmatch(ARGV[2], '%S+') do
    words[#words + 1] = word
  end
  setmetatable(this, nil)
  this.initial, this.fail_max, this.reset_timeout = words[1], tonumber(words[2]), tonumber(words[3])
  this.success_threshold, this.half_open_max_calls = tonumber(words[4]), tonumber(words[5])
  this.probe_timeout, this.multiplier = tonumber(words[6]), tonumber(words[7])
  this.maximum, this.jitter = tonumber(words[8]), tonumber(words[9])
  return this[name]
end})

-- A stored whole number; nothing when it is missing or not understood.
local function whole(name, text)
  if not text then -- also false, which is what Redis gives for a key that isn't there
    return nil
  end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if not number or number > FOREVER then
    strange[#strange + 1] = name
    return nil
  end
  return number
end

local function digits(number)
  return string.format('%.0f', number)
end

local function permits_from(text)
  local permits, rest = {}, string.gsub(text or '', '(%w+):(%d+),?', '')
  if rest ~= '' then
    strange[#strange + 1] = 'permits'
    return permits
  end
  for token, lease_end in string.gmatch(text or '', '(%w+):(%d+)') do
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

-- Our hash, field by field as it is stored; empty when there is none.
local function load_hash()
  local found = redis.pcall('HMGET', KEYS[5], unpack(FIELDS))
  if found.err then
    if not string.find(tostring(found.err), 'WRONGTYPE', 1, true) then
      redis.call('HMGET', KEYS[5], unpack(FIELDS)) -- fails again, with the server's own words
    end
    strange[#strange + 1] = 'ext'
    return {wrong_type = true}
  end
  local stored = {}
  for i, name in ipairs(FIELDS) do
    stored[name] = found[i] or nil
  end
  return stored
end

-- What our hash adds to pybreaker's keys; nothing when a number is missing or not understood.
local function ours(stored)
  local part = {permits = permits_from(stored.permits), reason = stored.reason or ''}
  for _, name in ipairs({'generation', 'open_until', 'opened_at', 'trips'}) do
    part[name] = whole(name, stored[name])
    if not part[name] then
      return nil
    end
  end
  if not REASONS[part.reason] then
    strange[#strange + 1], part.reason = 'reason', ''
  end
  return part
end

-- The record, taken from pybreaker's keys and our hash, and foreign writes adopted.
local function load(keys, stored)
  for i, name in ipairs({'state', 'fail_counter', 'success_counter'}) do
    if not keys[i] and redis.call('EXISTS', KEYS[i]) == 1 then -- of another type
      strange[#strange + 1] = name
    end
  end
  local state = keys[1] or nil
  if state and not STATES[state] then
    strange[#strange + 1], state = 'state', nil
  end
  local part = ours(stored)
  local record = missing(state or policy.initial, now, part and part.generation or 0)
  if not state then
    adopted_from = part and part.generation or 0
    return record
  end
  record.fail_counter = whole('fail_counter', keys[2]) or 0
  record.success_counter = whole('success_counter', keys[3]) or 0
  for name, value in pairs(part or {}) do
    record[name] = value
  end
  if not part or stored.state ~= state or (state == OPEN and stored.opened ~= (keys[4] or '')) then
    adopted_from = part and part.generation or 0
    local opened_at = math.min((whole('opened_at', keys[4]) or 0) * 1000, FOREVER)
    adopt(record, state, opened_at, policy, ms)
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
local function save_hash(record, stored, opened)
  local values = {
    generation = digits(record.generation), open_until = digits(record.open_until),
    opened_at = digits(record.opened_at), trips = digits(record.trips), reason = record.reason,
    permits = permits_to(record.permits), state = record.state, opened = opened,
  }
  local fields = {}
  for _, name in ipairs(FIELDS) do
    if values[name] ~= stored[name] then
      fields[#fields + 1], fields[#fields + 2] = name, values[name]
    end
  end
  if stored.wrong_type then
    redis.call('DEL', KEYS[5])
  end
  if #fields > 0 then
    redis.call('HSET', KEYS[5], unpack(fields))
  end
end

local function save(record, keys, stored, opened_before)
  local reopened, opened = record.opened_at ~= opened_before, stored.opened
  if reopened then
    opened = record.opened_at > 0 and digits(math.floor(record.opened_at / 1000)) or ''
  elseif adopted_from then
    opened = keys[4] or ''
  end
  save_keys(record, keys, reopened)
  save_hash(record, stored, opened)
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

local function reply(verdict, state, generation, record, unsaved_from)
  return table.concat({
    verdict, digits(retry_after(record, policy, ms)), digits(ms), state, digits(generation),
    record.state, digits(record.generation), digits(record.fail_counter), digits(record.success_counter),
    digits(record.opened_at), digits(record.open_until), digits(record.trips),
    record.reason ~= '' and record.reason or '-',
    next(record.permits) and permits_to(record.permits) or '-', unsaved_from and digits(unsaved_from) or '-',
    #strange > 0 and table.concat(strange, ',') or '-',
  }, ' ')
end

local keys = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local stored = load_hash()
local record = load(keys, stored)
local state, generation, opened_before = record.state, record.generation, record.opened_at
local event = {
  kind = ARGV[1], token = ARGV[4] or '', generation = tonumber(ARGV[5]),
  duration = tonumber(ARGV[6]), luck = tonumber(ARGV[7]),
}
local verdict, write = decide(record, event, policy, now, adopted_from)
local key_ttl = tonumber(ARGV[3])
if write then
  save(record, keys, stored, opened_before)
elseif ARGV[8] == '1' and not stored.wrong_type then
  redis.call('HSET', KEYS[5], 'trial', '1')
  redis.call('HDEL', KEYS[5], 'trial')
end
-- A closed circuit in use writes nothing, and must not expire under its callers.
local in_use = key_ttl > 0 and verdict == ADMITTED and record.state == CLOSED
if key_ttl > 0 and write or in_use and redis.call('PTTL', KEYS[5]) < key_ttl / 2 + policy.probe_timeout then
  expire(record, key_ttl)
end
return reply(verdict, state, generation, record, not write and adopted_from)

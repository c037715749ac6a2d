-- machine.py again, function by function in the same order: what happens to a circuit.
-- No keys, no clock, no I/O: keys.lua has those. Whoever changes one machine changes the other, and
-- quick.lua, which says again what happens in a closed circuit that stays closed.
--
-- Units: `now` is whole microseconds on the server's clock; instants and durations are whole
-- milliseconds. A difference of language, not of rule: a record is changed in place, and
-- `dirty` says that it was, where Python has a new record.

local CLOSED, OPEN, HALF_OPEN = 'closed', 'open', 'half-open'
local FAILURES, HOLD, MANUAL = 'failures', 'hold', 'manual'
local FOREVER = 9007199254740991
local TOKEN_MEMORY = 10
local ADMITTED, REJECTED, COUNTED, DROPPED, DONE, SEEN =
  'admitted', 'rejected', 'counted', 'dropped', 'done', 'seen'

local function missing(initial, now, last)
  return {
    state = initial, generation = math.max(now, last + 1), fail_counter = 0, success_counter = 0,
    opened_at = 0, open_until = 0, trips = 0, reason = '', permits = {},
  }
end

local function later(ms, duration)
  return math.min(ms + duration, FOREVER)
end

local function change(record, state, ms)
  record.state, record.generation, record.permits = state, math.max(ms * 1000, record.generation + 1), {}
  record.dirty = true
end

local function adopt(record, state, opened_at, policy, ms)
  change(record, state, ms)
  record.opened_at, record.reason = math.min(opened_at, ms), ''
  if state == OPEN then
    record.open_until = opened_at > 0 and later(math.min(opened_at, ms), policy.reset_timeout) or ms
  elseif state == CLOSED then
    record.trips, record.fail_counter = 0, record.fail_counter < policy.fail_max and record.fail_counter or 0
  end
end

local function keep_time(record, policy, ms)
  if record.state == OPEN and ms < record.opened_at and record.open_until < FOREVER then
    record.open_until = later(ms, math.max(0, record.open_until - record.opened_at))
    record.opened_at, record.dirty = ms, true
    return
  end
  for token, lease_end in pairs(record.permits) do
    local longest = later(ms, policy.probe_timeout)
    if lease_end > longest then
      record.permits[token], record.dirty = longest, true
    end
  end
end

local function open_time(policy, trips, luck)
  local growth = math.min(policy.multiplier ^ trips, FOREVER)
  local span = math.max(policy.reset_timeout, math.min(policy.reset_timeout * growth, policy.maximum))
  return math.ceil(math.min(span * (1 + policy.jitter * luck), FOREVER))
end

local function live(record, ms)
  local count, first = 0, FOREVER
  for _, lease_end in pairs(record.permits) do
    if ms < lease_end then
      count, first = count + 1, math.min(first, lease_end)
    end
  end
  return count, first
end

local function retry_after(record, policy, ms)
  if record.state == OPEN then
    return record.open_until == FOREVER and FOREVER or math.max(0, record.open_until - ms)
  elseif record.state == HALF_OPEN then
    local count, first = live(record, ms)
    return count < policy.half_open_max_calls and 0 or first - ms
  end
  return 0
end

local function counts(record, event)
  if event.generation ~= record.generation then
    return false
  end
  return record.state == CLOSED or record.permits[event.token] ~= nil
end

local function issue(record, event, policy, ms)
  local memory, permits = TOKEN_MEMORY * policy.probe_timeout, {}
  for token, lease_end in pairs(record.permits) do
    if ms < later(lease_end, memory) then
      permits[token] = lease_end
    end
  end
  permits[event.token] = later(ms, policy.probe_timeout)
  record.permits, record.dirty = permits, true
end

local function settle(record, event)
  record.permits[event.token], record.dirty = nil, true
end

local function trip(record, event, policy, ms)
  local until_ms = later(ms, open_time(policy, record.trips, event.luck))
  change(record, OPEN, ms)
  record.fail_counter, record.success_counter = record.fail_counter + 1, 0
  record.opened_at, record.open_until = ms, until_ms
  record.trips, record.reason = record.trips + 1, FAILURES
end

local function ask(record, event, policy, ms)
  if record.state == CLOSED then
    return ADMITTED
  end
  if record.state == OPEN then
    if ms < record.open_until then
      return REJECTED
    end
    change(record, HALF_OPEN, ms)
    record.success_counter = 0
  end
  if record.permits[event.token] then
    return ADMITTED
  end
  local count = live(record, ms)
  if count >= policy.half_open_max_calls then
    return REJECTED
  end
  issue(record, event, policy, ms)
  return ADMITTED
end

local function success(record, event, policy, ms)
  if not counts(record, event) then
    return DROPPED
  end
  if record.state == CLOSED then
    if record.fail_counter > 0 then
      record.fail_counter, record.dirty = 0, true
    end
  elseif record.success_counter + 1 < policy.success_threshold then
    settle(record, event)
    record.success_counter = record.success_counter + 1
  else
    change(record, CLOSED, ms)
    record.fail_counter, record.success_counter, record.trips, record.reason = 0, 0, 0, ''
  end
  return COUNTED
end

local function failure(record, event, policy, ms)
  if not counts(record, event) then
    return DROPPED
  end
  if record.state == CLOSED and record.fail_counter + 1 < policy.fail_max then
    record.fail_counter, record.dirty = record.fail_counter + 1, true
  else
    trip(record, event, policy, ms)
  end
  return COUNTED
end

local function neutral(record, event, policy, ms)
  if not counts(record, event) then
    return DROPPED
  end
  if record.state ~= CLOSED then
    settle(record, event)
  end
  return COUNTED
end

local function hold(record, event, policy, ms)
  local until_ms = later(ms, event.duration)
  if record.state == OPEN then
    if until_ms <= record.open_until then
      return DROPPED
    end
    record.open_until, record.reason, record.dirty = until_ms, HOLD, true
    return COUNTED
  end
  if not counts(record, event) then
    return DROPPED
  end
  change(record, OPEN, ms)
  record.opened_at, record.open_until = ms, until_ms
  record.success_counter, record.reason = 0, HOLD
  return COUNTED
end

local function renew(record, event, policy, ms)
  if record.state ~= HALF_OPEN or not counts(record, event) then
    return DROPPED
  end
  record.permits[event.token], record.dirty = later(ms, policy.probe_timeout), true
  return COUNTED
end

local function open_by_hand(record, event, policy, ms)
  change(record, OPEN, ms)
  record.opened_at, record.open_until = ms, later(ms, event.duration)
  record.success_counter, record.reason = 0, MANUAL
  return DONE
end

local function half_open_by_hand(record, event, policy, ms)
  change(record, HALF_OPEN, ms)
  record.success_counter, record.reason = 0, MANUAL
  return DONE
end

local function close_by_hand(record, event, policy, ms)
  change(record, CLOSED, ms)
  record.fail_counter, record.success_counter, record.trips, record.reason = 0, 0, 0, MANUAL
  return DONE
end

local function reset_by_hand(record, event, policy, ms)
  change(record, record.state, ms)
  record.fail_counter, record.success_counter, record.trips, record.reason = 0, 0, 0, MANUAL
  record.opened_at, record.open_until = 0, 0
  return DONE
end

local function read(record, event, policy, ms)
  return SEEN
end

local HANDLERS = {
  ask = ask,
  success = success,
  failure = failure,
  neutral = neutral,
  hold = hold,
  renew = renew,
  open = open_by_hand,
  half_open = half_open_by_hand,
  close = close_by_hand,
  reset = reset_by_hand,
  read = read,
}

local function decide(record, event, policy, now, adopted_from)
  record.dirty = false
  keep_time(record, policy, math.floor(now / 1000))
  local verdict = HANDLERS[event.kind](record, event, policy, math.floor(now / 1000))
  if event.kind == 'reset' then
    record.state = policy.initial
  end
  return verdict, verdict ~= DROPPED and verdict ~= SEEN and (adopted_from ~= nil or record.dirty)
end

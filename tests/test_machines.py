"""The Python machine and the Lua machine are one machine, and it keeps its promises."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fakeredis
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stores import ClockedRedis, RedisStore

from pybreaker_ext import machine
from pybreaker_ext.machine import DROPPED, FOREVER, SEEN, Decision, Event, Policy, Record, adopt, decide

if TYPE_CHECKING:
    from servers import RedisServer

PACKAGE = Path(machine.__file__).parent
REPORTS = ("success", "failure", "neutral", "hold", "renew")


def functions_of_python() -> list[str]:
    found = inspect.getmembers(machine, inspect.isfunction)
    own = [
        (function.__code__.co_firstlineno, name) for name, function in found if function.__module__ == machine.__name__
    ]
    return [name for _, name in sorted(own)]


def test_both_machines_have_the_same_functions_in_the_same_order() -> None:
    lua = (PACKAGE / "storage" / "machine.lua").read_text()
    assert re.findall(r"^local function (\w+)", lua, re.MULTILINE) == functions_of_python()


def test_both_machines_handle_the_same_events() -> None:
    lua = (PACKAGE / "storage" / "machine.lua").read_text()
    table = lua[lua.index("HANDLERS = {") : lua.index("}", lua.index("HANDLERS = {"))]
    assert dict(re.findall(r"(\w+) = (\w+),", table)) == {
        kind: function.__name__ for kind, function in machine.HANDLERS.items()
    }


def test_the_defaults_are_an_unused_circuit_and_pybreakers_settings() -> None:
    assert Record() == ("closed", 0, 0, 0, 0, 0, 0, "", {})
    assert Policy() == (5, 60_000, 1, 1, 30_000, 1.0, 0, 0.0)
    assert Event("ask") == ("ask", "", 0, 0, 0.0, 0)
    decision = Decision("seen", "closed", 1, Record(), write=False, retry_after=0, now=0)
    assert (decision.stored, decision.epoch, decision.lasting) == (None, 0, True)
    assert machine.missing("open", 0) == Record("open", 1)
    assert decide(None, Event("read"), Policy(), 5_000).stored == 0


def fresh(found: Any) -> Any:
    """Return an equal object: what a store gives is never the one that this package has a name for."""
    return json.loads(json.dumps(found))


def test_words_and_numbers_are_what_they_say() -> None:
    closed = Record(fresh("closed"), fresh(1000), trips=2)
    assert decide(closed, Event("neutral", generation=fresh(1000)), Policy(), 5_000).after is closed
    assert adopt(closed, fresh("closed"), 0, Policy(), 5).trips == 0
    counts = [
        adopt(closed._replace(fail_counter=n), "closed", 0, Policy(fail_max=3), 5).fail_counter for n in (2, 3, 4)
    ]
    assert counts == [2, 0, 0]
    assert adopt(closed, fresh("open"), 3, Policy(), 5).open_until == 60_003
    reset = decide(closed, Event(fresh("reset")), Policy(), 5_000, fresh("half-open"))
    assert reset.after == Record("half-open", 5_000, reason="manual")
    held = Record("open", open_until=fresh(FOREVER))
    assert machine.retry_after(held, Policy(), 5) == FOREVER


CLOSED = Record(generation=7)
OPEN = Record("open", 7, opened_at=5, open_until=100)
HALF_OPEN = Record("half-open", 7, permits={"a1": 30_005})


@pytest.mark.parametrize(
    ("record", "event"),
    [
        *[(CLOSED, Event(kind, generation=7)) for kind in ("ask", "success", "neutral", "read", "renew")],
        *[(OPEN, Event(kind, generation=7)) for kind in ("ask", "success", "neutral", "read", "renew")],
        *[(HALF_OPEN, event) for event in (Event("ask", "a2"), Event("ask", "a1"), Event("read"))],
    ],
)
def test_what_changes_nothing_is_not_written(record: Record, event: Event) -> None:
    decision = decide(record, event, Policy(), 5_000)
    assert decision.after is record
    assert not decision.write
    assert decision.stored is None


def test_what_changes_nothing_is_not_written_on_redis(redis_server: RedisServer) -> None:
    """Also not while the clock stands still, and not by the machine: `quick.lua` leaves keys that expire to it."""
    with redis_server.client() as client:
        store = RedisStore(client)
        storage = store.storage = ClockedRedis("closed", client, store.namespace, key_ttl=3600)
        storage.test_clock = store.clock
        store.policy = Policy(fail_max=1)

        def written(*events: str) -> int:
            before = client.info("persistence")["rdb_changes_since_last_save"]
            for kind in events:
                store.apply(kind, "other", generation)
            return client.info("persistence")["rdb_changes_since_last_save"] - before

        generation = store.ask().after.generation
        assert written("ask", "success", "neutral", "renew", "read") == 0
        store.apply("failure", generation=generation)
        assert written("ask", *REPORTS, "read") == 0
        generation = store.apply("half_open").after.generation
        store.ask("probe")
        assert written("ask", *REPORTS, "read") == 0
        assert store.ask("probe").verdict == "admitted"
        assert written("ask") == 0
        store.lose()


@pytest.mark.parametrize(("state", "trips"), [("closed", 0), ("open", 2), ("half-open", 2)])
def test_both_machines_take_over_on_redis_what_plain_pybreaker_wrote(
    redis_server: RedisServer, state: str, trips: int
) -> None:
    with redis_server.client() as client:
        pair = Pair(RedisStore(client), Policy(fail_max=1, reset_timeout=1_000))
        for token in ("a1", "a2"):
            generation = pair.both(Event("ask", token)).after.generation
            assert pair.both(Event("failure", token, generation)).after.state == "open"
            pair.lua.clock.advance(2)
        if state == "open":
            pair._foreign_opening(Step("", 10, 0))
        else:
            pair._foreign_state(Step("", STATES.index(state), 0))
        after = pair.both(Event("read")).after
        assert (after.state, after.trips) == (state, trips)


class Step(NamedTuple):
    """One step of a history."""

    what: str
    #: Which of the permits that were handed out, or how long, or which state.
    choice: int
    amount: float


STEPS = st.builds(
    Step,
    st.sampled_from(
        ("ask",) * 6 + ("ask again",) + REPORTS * 3 + ("open", "half_open", "close", "reset", "read")
        + ("wait",) * 6 + ("jump", "lose", "lose ext", "lose state")
        + ("foreign state", "foreign opening", "foreign count")
    ),
    st.integers(0, 40),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
POLICIES = st.builds(
    Policy,
    fail_max=st.integers(1, 4),
    reset_timeout=st.sampled_from([0, 1, 1_000, 10_000, FOREVER]),
    success_threshold=st.integers(1, 3),
    half_open_max_calls=st.integers(1, 3),
    probe_timeout=st.sampled_from([1, 100, 5_000]),
    multiplier=st.sampled_from([1.0, 1.5, 2.0, 1e300]),
    maximum=st.sampled_from([1, 16_000, 600_000, FOREVER]),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
)
#: Milliseconds; small ones to hit the boundaries of the policies' times exactly.
WAITS = (0, 1, 99, 100, 999, 1_000, 1_001, 4_999, 5_000, 10_000, 50_000, 100_000)
STATES = ("closed", "open", "half-open")


class PythonStore:
    """The Python machine behind keys like Redis's, foreign writers and losses included."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.state: str | None = None
        self.opened: str | None = None
        self.seen: tuple[str | None, str | None] = (None, None)
        self.ours = False

    def apply(self, event: Event, policy: Policy, now: int) -> Decision:
        record, adopted_from = self._load(policy, now)
        decision = decide(record, event, policy, now, adopted_from=adopted_from)
        if decision.write:
            self._save(record, decision.after)
        return decision

    def _load(self, policy: Policy, now: int) -> tuple[Record, int | None]:
        if self.state is None:
            last = self.record.generation if self.record and self.ours else 0
            return machine.missing("closed", now, last), last
        known = self.record if self.record and self.ours else machine.missing(self.state, now)._replace(
            fail_counter=self.record.fail_counter if self.record else 0,
            success_counter=self.record.success_counter if self.record else 0,
        )  # fmt: skip
        seen_state, seen_opened = self.seen
        if (
            self.ours
            and seen_state == self.state
            and (self.state != "open" or (seen_opened or "") == (self.opened or ""))
        ):
            return known, None
        opened_at = min(int(self.opened or 0) * 1000, FOREVER)
        stored = known.generation if self.record and self.ours else 0
        return adopt(known, self.state, opened_at, policy, now // 1000), stored

    def _save(self, before: Record | None, after: Record) -> None:
        reopened = before is None or after.opened_at != before.opened_at
        if reopened or (before and after.state == "open" and after.generation != before.generation):
            self.opened = str(after.opened_at // 1000) if after.opened_at else None
        self.record, self.state, self.ours = after, after.state, True
        self.seen = (self.state, self.opened)

    def lose(self) -> None:
        self.__init__()  # type: ignore[misc]

    def lose_ext(self) -> None:
        self.ours = False

    def lose_state(self) -> None:
        self.state = None

    def foreign_count(self) -> None:
        if self.record is not None and self.state is not None:
            self.record = self.record._replace(fail_counter=self.record.fail_counter + 1)


class Pair:
    """One history, told to both machines."""

    def __init__(self, store: RedisStore, policy: Policy) -> None:
        self.python = PythonStore()
        self.lua = store
        self.policy = policy
        self.permits: list[tuple[int, str]] = [(0, "never")]
        self.asks = 0

    @property
    def now(self) -> int:
        return self.lua.clock.now

    def step(self, step: Step) -> None:
        method = getattr(self, "_" + step.what.replace(" ", "_"), None)
        if method is not None:
            method(step)
        elif step.what in REPORTS:
            generation, token = self.permits[step.choice % len(self.permits)]
            duration = WAITS[step.choice % len(WAITS)]
            self.both(Event(step.what, token, generation, duration, step.amount))
        else:
            self.both(Event(step.what, duration=WAITS[step.choice % len(WAITS)]))

    def both(self, event: Event) -> Decision:
        expected = self.python.apply(event, self.policy, self.now)
        actual = self.lua.storage.apply(event, self.policy)
        assert actual._replace(write=False) == expected._replace(write=False), event
        return expected

    def _ask(self, step: Step) -> None:
        self.asks += 1
        self._asked(f"a{self.asks}")

    def _ask_again(self, step: Step) -> None:
        self._asked(self.permits[step.choice % len(self.permits)][1])

    def _asked(self, token: str) -> None:
        decision = self.both(Event("ask", token))
        if decision.verdict == "admitted":
            self.permits.append((decision.after.generation, token))

    def _wait(self, step: Step) -> None:
        self.lua.clock.now += WAITS[step.choice % len(WAITS)] * 1000 + 1

    def _jump(self, step: Step) -> None:
        self.lua.clock.now += round((step.amount - 0.5) * 7_200_000_000)

    def _lose(self, step: Step) -> None:
        self.python.lose()
        self.lua.lose()

    def _lose_ext(self, step: Step) -> None:
        self.python.lose_ext()
        self.lua.client.delete(self.lua.key("ext"))

    def _lose_state(self, step: Step) -> None:
        self.python.lose_state()
        self.lua.client.delete(self.lua.key("state"))

    def _foreign_state(self, step: Step) -> None:
        state = STATES[step.choice % 3]
        self.python.state = state
        self.lua.client.set(self.lua.key("state"), state)

    def _foreign_opening(self, step: Step) -> None:
        """As plain pybreaker does it: first when, on its own clock, then what."""
        opened = str((self.now // 1_000_000) + step.choice - 20)
        self.python.opened = opened
        self.lua.client.set(self.lua.key("opened_at"), opened)
        self._foreign_state(step._replace(choice=1))

    def _foreign_count(self, step: Step) -> None:
        if self.python.record is not None and self.python.state is not None:
            self.python.foreign_count()
            self.lua.client.incr(self.lua.key("fail_counter"))


def compare(client: Any, policy: Policy, steps: list[Step]) -> None:
    pair = Pair(RedisStore(client), policy)
    try:
        for step in steps:
            pair.step(step)
        pair.both(Event("read"))
    finally:
        pair.lua.lose()


@given(POLICIES, st.lists(STEPS, min_size=1, max_size=60))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_machines_say_the_same_on_redis(redis_server: RedisServer, policy: Policy, steps: list[Step]) -> None:
    with redis_server.client() as client:
        compare(client, policy, steps)


@given(POLICIES, st.lists(STEPS, min_size=1, max_size=40))
@settings(max_examples=25)
def test_both_machines_say_the_same_on_fakeredis(policy: Policy, steps: list[Step]) -> None:
    with fakeredis.FakeRedis() as client:
        compare(client, policy, steps)


@pytest.mark.timeout(900)
@pytest.mark.slow
@given(POLICIES, st.lists(STEPS, min_size=1, max_size=200))
@settings(max_examples=5_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_machines_say_the_same_at_length(redis_server: RedisServer, policy: Policy, steps: list[Step]) -> None:
    with redis_server.client() as client:
        compare(client, policy, steps)


OWN_STEPS = STEPS.filter(lambda step: not step.what.startswith(("foreign", "lose", "jump")))


@given(POLICIES, st.lists(OWN_STEPS, min_size=1, max_size=80))
@example(
    Policy(half_open_max_calls=1, probe_timeout=1),
    [Step("half_open", 0, 0), Step("ask", 0, 0), Step("wait", 1, 0), Step("ask", 0, 0), Step("renew", 1, 0)],
)
@settings(max_examples=500)
def test_the_machine_keeps_its_promises(policy: Policy, steps: list[Step]) -> None:
    """No probe without a free place, no admission while open, nothing from old generations."""
    record: Record | None = None
    now = 1_800_000_000_000_000
    permits: list[tuple[int, str]] = [(0, "never")]
    generations = set()
    for number, step in enumerate(steps):
        now += WAITS[step.choice % len(WAITS)] * 1000 + 1 if step.what == "wait" else 0
        generation, token = permits[step.choice % len(permits)]
        kind = {"wait": "read", "ask again": "ask"}.get(step.what, step.what)
        if kind == "ask":
            generation, token = 0, f"a{number}" if step.what == "ask" else token
        event = Event(kind, token, generation, WAITS[step.choice % len(WAITS)], step.amount)
        before = record
        decision = decide(record, event, policy, now)
        if decision.write:
            record = decision.after
        if record is None:
            continue
        changed = before is None or record.generation != before.generation
        assert not changed or record.generation not in generations, "a generation came twice"
        generations.add(record.generation)
        assert record.state == "half-open" or not record.permits
        if decision.verdict == "admitted":
            if before is not None and before.state == "half-open" and token not in before.permits:
                assert machine.live(before, now // 1000)[0] < policy.half_open_max_calls
            permits.append((record.generation, token))
            if before is not None and before.state == "open":
                assert now // 1000 >= before.open_until
        if kind in REPORTS and before is not None and generation != before.generation:
            extended = record._replace(open_until=before.open_until, reason=before.reason)
            assert record == before or (kind == "hold" and before.state == "open" and extended == before)
        if decision.verdict in (DROPPED, SEEN):
            assert record == before


@given(POLICIES, st.lists(STEPS.filter(lambda step: "foreign" not in step.what), max_size=40))
@settings(max_examples=300)
def test_a_healthy_backend_and_traffic_lead_to_closed(policy: Policy, steps: list[Step]) -> None:
    """From any state that isn't "open until closed by hand"."""
    policy = policy._replace(reset_timeout=min(policy.reset_timeout, 60_000), maximum=min(policy.maximum, 600_000))
    store = PythonStore()
    now = 1_800_000_000_000_000
    permits: list[tuple[int, str]] = [(0, "never")]
    for number, step in enumerate(steps):
        if step.what in ("wait", "jump"):
            now += WAITS[step.choice % len(WAITS)] * 1000 + 1
        elif step.what.startswith("lose"):
            store.lose()
        else:
            generation, token = permits[step.choice % len(permits)]
            kind = "ask" if step.what == "ask again" else step.what
            token = f"a{number}" if step.what == "ask" else token
            decision = store.apply(
                Event(kind, token, generation, WAITS[step.choice % len(WAITS)], step.amount), policy, now
            )
            if decision.verdict == "admitted":
                permits.append((decision.after.generation, token))
    for call in range(50):
        decision = store.apply(Event("ask", f"healthy{call}"), policy, now)
        if decision.verdict == "rejected":
            assert decision.retry_after > 0
            now += decision.retry_after * 1000
            continue
        decision = store.apply(Event("success", f"healthy{call}", decision.after.generation), policy, now)
        if decision.after.state == "closed":
            return
    raise AssertionError(f"still {decision.after}")

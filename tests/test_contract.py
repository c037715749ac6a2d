"""The state machine's table, row by row, on every kind of store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pybreaker_ext.machine import FOREVER, Policy, Record

if TYPE_CHECKING:
    from stores import Store

POLICY = Policy(
    fail_max=2,
    reset_timeout=10_000,
    success_threshold=2,
    half_open_max_calls=1,
    probe_timeout=30_000,
    multiplier=2.0,
    maximum=60_000,
)


@pytest.fixture(autouse=True)
def _policy(store: Store) -> None:
    store.policy = POLICY


def tripped(store: Store) -> Record:
    generation = store.ask().after.generation
    store.apply("failure", generation=generation)
    decision = store.apply("failure", generation=generation)
    assert decision.after.state == "open"
    return decision.after


def next_generation(store: Store, generation: int) -> int:
    """Generations follow the clock, and never stand still."""
    return max(store.clock.ms * 1000, generation + 1)


def half_opened(store: Store, token: str = "probe") -> Record:
    tripped(store)
    store.clock.advance(10)
    decision = store.ask(token)
    assert (decision.verdict, decision.after.state) == ("admitted", "half-open")
    return decision.after


def test_row_1_a_closed_circuit_admits(store: Store) -> None:
    first = store.ask()
    assert (first.verdict, first.after.state, first.retry_after) == ("admitted", "closed", 0)
    assert store.ask("other").after == first.after


def test_the_first_ask_of_a_missing_record_makes_its_generation_last(store: Store) -> None:
    generation = store.ask().after.generation
    store.clock.advance(60)
    assert store.record.generation == generation
    assert store.apply("failure", generation=generation).verdict == "counted"


def test_reading_a_missing_record_writes_nothing(store: Store) -> None:
    before = store.record.generation
    store.clock.advance(1)
    assert store.record.generation == before + 1_000_000


def test_row_2_a_success_ends_a_run_of_failures(store: Store) -> None:
    generation = store.ask().after.generation
    store.apply("failure", generation=generation)
    decision = store.apply("success", generation=generation)
    assert (decision.verdict, decision.after.fail_counter) == ("counted", 0)
    assert store.record.fail_counter == 0


def test_row_3_failures_below_the_threshold_are_counted(store: Store) -> None:
    generation = store.ask().after.generation
    decision = store.apply("failure", generation=generation)
    assert (decision.verdict, decision.after.state, decision.after.fail_counter) == ("counted", "closed", 1)
    assert decision.after.generation == generation


def test_row_3_one_by_one(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=6)
    generation = store.ask().after.generation
    counters = [store.apply("failure", generation=generation).after.fail_counter for _ in range(6)]
    assert counters == [1, 2, 3, 4, 5, 6]
    assert store.record.state == "open"


def test_row_4_the_last_allowed_failure_trips(store: Store) -> None:
    generation = store.ask().after.generation
    store.apply("failure", generation=generation)
    decision = store.apply("failure", generation=generation)
    assert (decision.old_state, decision.old_generation) == ("closed", generation)
    assert decision.after == Record(
        state="open",
        generation=next_generation(store, generation),
        fail_counter=2,
        opened_at=store.clock.ms,
        open_until=store.clock.ms + 10_000,
        trips=1,
        reason="failures",
    )
    assert decision.retry_after == 10_000
    assert store.record == decision.after


def test_row_4_also_for_who_allows_fewer_than_were(store: Store) -> None:
    """A rolling deploy may lower the setting."""
    store.policy = POLICY._replace(fail_max=6)
    generation = store.ask().after.generation
    for _ in range(3):
        store.apply("failure", generation=generation)
    store.policy = POLICY
    assert store.apply("failure", generation=generation).after.state == "open"


def test_row_5_an_open_circuit_rejects_until_its_time(store: Store) -> None:
    record = tripped(store)
    store.clock.advance(9.999)
    decision = store.ask()
    assert (decision.verdict, decision.retry_after, decision.after) == ("rejected", 1, record)


def test_row_6_the_first_ask_after_the_open_time_is_a_probe(store: Store) -> None:
    record = tripped(store)
    store.clock.advance(10)
    decision = store.ask("probe")
    assert (decision.verdict, decision.old_state) == ("admitted", "open")
    assert decision.after == record._replace(
        state="half-open",
        generation=next_generation(store, record.generation),
        permits={"probe": store.clock.ms + 30_000},
    )
    assert store.record == decision.after


def test_row_7_as_many_probes_as_allowed(store: Store) -> None:
    store.policy = POLICY._replace(half_open_max_calls=3)
    half_opened(store, "p1")
    assert store.ask("p2").verdict == "admitted"
    assert store.ask("p3").verdict == "admitted"
    assert store.ask("p4").verdict == "rejected"
    assert set(store.record.permits) == {"p1", "p2", "p3"}


def test_row_8_no_place_no_probe_and_nothing_written(store: Store) -> None:
    record = half_opened(store)
    store.clock.advance(12.5)
    decision = store.ask("another")
    assert (decision.verdict, decision.retry_after, decision.after) == ("rejected", 17_500, record)
    assert store.record == record


def test_row_8_also_for_who_allows_fewer_than_run(store: Store) -> None:
    """A rolling deploy may lower the setting."""
    store.policy = POLICY._replace(half_open_max_calls=3)
    half_opened(store, "p1")
    store.clock.advance(5)
    store.ask("p2")
    store.ask("p3")
    store.policy = POLICY._replace(half_open_max_calls=2)
    decision = store.ask("p4")
    assert (decision.verdict, decision.retry_after) == ("rejected", 25_000)


def test_an_ask_that_was_answered_before_gets_the_same_answer(store: Store) -> None:
    """Its first answer may have been lost on the way; its own permit must not refuse it."""
    record = half_opened(store)
    decision = store.ask("probe")
    assert (decision.verdict, decision.after) == ("admitted", record)


def test_row_9_a_success_in_half_open_is_counted(store: Store) -> None:
    record = half_opened(store)
    decision = store.apply("success", "probe", record.generation)
    assert decision.verdict == "counted"
    assert decision.after == record._replace(success_counter=1, permits={})


def test_row_9_one_by_one(store: Store) -> None:
    store.policy = POLICY._replace(success_threshold=6)
    generation = half_opened(store).generation
    counters = []
    for token in ("probe", "p2", "p3", "p4", "p5"):
        store.ask(token)
        counters.append(store.apply("success", token, generation).after.success_counter)
    assert counters == [1, 2, 3, 4, 5]
    store.ask("p6")
    assert store.apply("success", "p6", generation).after.state == "closed"


def test_row_10_enough_successes_close(store: Store) -> None:
    record = half_opened(store)
    store.apply("success", "probe", record.generation)
    store.ask("second")
    decision = store.apply("success", "second", record.generation)
    assert (decision.old_state, decision.after.state) == ("half-open", "closed")
    assert decision.after.generation == next_generation(store, record.generation)
    counters = (decision.after.fail_counter, decision.after.success_counter, decision.after.trips)
    assert counters == (0, 0, 0)
    assert decision.after.permits == {}


def test_row_11_a_failing_probe_opens_at_once(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=1000)
    tripped_by_hand = store.apply("open", duration=0).after
    probe = store.ask("probe").after
    store.apply("success", "probe", probe.generation)
    store.ask("second")
    decision = store.apply("failure", "second", probe.generation)
    assert decision.after == Record(
        state="open",
        generation=tripped_by_hand.generation + 2,
        fail_counter=1,
        opened_at=store.clock.ms,
        open_until=store.clock.ms + 10_000,
        trips=1,
        reason="failures",
    )


def test_row_12_a_neutral_probe_gives_its_place_back(store: Store) -> None:
    record = half_opened(store)
    decision = store.apply("neutral", "probe", record.generation)
    assert (decision.verdict, decision.after) == ("counted", record._replace(permits={}))
    assert store.ask("next").verdict == "admitted"


def test_row_12_and_only_its_own(store: Store) -> None:
    store.policy = POLICY._replace(half_open_max_calls=3)
    generation = half_opened(store, "p1").generation
    store.ask("p2")
    store.ask("p3")
    assert set(store.apply("neutral", "p2", generation).after.permits) == {"p1", "p3"}


def test_row_13_neutral_while_closed_is_nothing(store: Store) -> None:
    record = store.ask().after
    store.apply("failure", generation=record.generation)
    decision = store.apply("neutral", generation=record.generation)
    assert decision.after == record._replace(fail_counter=1)


def test_row_14_a_hold_opens_a_closed_circuit(store: Store) -> None:
    record = store.ask().after
    decision = store.apply("hold", generation=record.generation, duration=7_000)
    assert decision.after == record._replace(
        state="open",
        generation=next_generation(store, record.generation),
        opened_at=store.clock.ms,
        open_until=store.clock.ms + 7_000,
        reason="hold",
    )


def test_row_14_a_hold_opens_a_half_open_circuit(store: Store) -> None:
    record = half_opened(store)
    decision = store.apply("hold", "probe", record.generation, duration=7_000)
    assert (decision.after.state, decision.after.reason, decision.after.trips) == ("open", "hold", record.trips)
    assert decision.after.open_until == store.clock.ms + 7_000
    assert decision.after.permits == {}


def test_row_15_the_longer_hold_wins(store: Store) -> None:
    generation = store.ask().after.generation
    first = store.apply("hold", generation=generation, duration=60_000).after
    shorter = store.apply("hold", generation=generation, duration=1_000)
    assert shorter.after == first
    longer = store.apply("hold", generation=generation, duration=90_000)
    assert longer.after == first._replace(open_until=store.clock.ms + 90_000)


def test_row_15_a_hold_never_ends_an_opening_by_hand(store: Store) -> None:
    generation = store.ask().after.generation
    forever = store.apply("open", duration=FOREVER).after
    assert forever.open_until == FOREVER
    assert store.apply("hold", generation=generation, duration=90_000).after == forever
    assert store.ask().retry_after == FOREVER


@pytest.mark.parametrize("outcome", ["success", "failure", "neutral", "hold", "renew"])
def test_row_16_a_report_of_an_old_generation_changes_nothing(store: Store, outcome: str) -> None:
    old = store.ask().after.generation
    store.apply("close")
    record = store.record
    decision = store.apply(outcome, generation=old, duration=1_000)
    assert (decision.verdict, decision.after) == ("dropped", record)
    assert store.record == record


@pytest.mark.parametrize("outcome", ["success", "failure", "neutral", "hold", "renew"])
def test_row_16_nor_does_one_of_a_generation_that_was_lost(store: Store, outcome: str) -> None:
    record = store.ask().after
    decision = store.apply(outcome, generation=record.generation + 1, duration=1_000)
    assert (decision.verdict, decision.after) == ("dropped", record)


@pytest.mark.parametrize("outcome", ["success", "failure", "neutral", "hold", "renew"])
def test_row_16_a_token_settles_once(store: Store, outcome: str) -> None:
    store.policy = POLICY._replace(success_threshold=3)
    generation = half_opened(store).generation
    store.apply("success", "probe", generation)
    record = store.record
    decision = store.apply(outcome, "probe", generation, duration=1_000)
    assert (decision.verdict, decision.after) == ("dropped", record)


def test_a_slow_success_of_before_the_trip_does_not_close(store: Store) -> None:
    old = store.ask().after.generation
    tripped(store)
    assert store.apply("success", generation=old).after.state == "open"
    store.clock.advance(10)
    probing = store.ask("probe").after
    assert store.apply("success", generation=old).after == probing


def test_a_slow_failure_of_an_old_generation_does_not_reopen(store: Store) -> None:
    old = half_opened(store)
    store.apply("success", "probe", old.generation)
    store.ask("second")
    closed = store.apply("success", "second", old.generation).after
    assert store.apply("failure", "probe", old.generation).after == closed


def test_row_17_opened_by_hand(store: Store) -> None:
    record = tripped(store)
    decision = store.apply("open", duration=3_000)
    assert decision.after == record._replace(
        generation=next_generation(store, record.generation),
        open_until=store.clock.ms + 3_000,
        reason="manual",
    )
    assert (decision.after.fail_counter, decision.after.trips) == (2, 1)


def test_row_18_half_opened_by_hand(store: Store) -> None:
    record = tripped(store)
    decision = store.apply("half_open")
    assert (decision.after.state, decision.after.reason) == ("half-open", "manual")
    assert decision.after.generation == next_generation(store, record.generation)
    assert store.ask("probe").verdict == "admitted"
    assert store.ask("other").verdict == "rejected"


def test_row_18_clears_the_permits(store: Store) -> None:
    generation = half_opened(store).generation
    assert store.apply("half_open").after.permits == {}
    assert store.apply("failure", "probe", generation).verdict == "dropped"


def test_row_19_closed_by_hand(store: Store) -> None:
    record = tripped(store)
    decision = store.apply("close")
    assert decision.after == record._replace(
        state="closed", generation=next_generation(store, record.generation), fail_counter=0, trips=0, reason="manual"
    )


def test_row_20_reset_is_as_never_used(store: Store) -> None:
    record = tripped(store)
    decision = store.apply("reset")
    assert decision.after == Record("closed", generation=next_generation(store, record.generation), reason="manual")
    assert store.record == decision.after


def test_row_21_a_renewed_lease_begins_anew(store: Store) -> None:
    record = half_opened(store)
    store.clock.advance(29)
    decision = store.apply("renew", "probe", record.generation)
    assert (decision.verdict, decision.after.permits) == ("counted", {"probe": store.clock.ms + 30_000})
    store.clock.advance(29)
    assert store.ask("other").verdict == "rejected"


def test_row_21_a_lease_that_ended_and_is_renewed_lives_beside_the_one_that_took_its_place(store: Store) -> None:
    """Both probes do run: nobody else may before both have ended."""
    generation = half_opened(store).generation
    store.clock.advance(30)
    assert store.ask("second").verdict == "admitted"
    assert store.apply("renew", "probe", generation).verdict == "counted"
    assert store.apply("neutral", "second", generation).verdict == "counted"
    assert store.ask("third").verdict == "rejected"


def test_a_lease_that_ended_frees_its_place_and_the_outcome_still_counts(store: Store) -> None:
    generation = half_opened(store).generation
    store.clock.advance(30)
    assert store.ask("second").verdict == "admitted"
    assert store.apply("success", "probe", generation).verdict == "counted"
    assert store.apply("success", "second", generation).after.state == "closed"


def test_one_lease_before_its_end_is_alive_and_at_its_end_is_not(store: Store) -> None:
    half_opened(store)
    store.clock.advance(29.999)
    assert store.ask("second").verdict == "rejected"
    store.clock.advance(0.001)
    assert store.ask("second").verdict == "admitted"


def test_on_a_clock_that_began_a_second_ago(store: Store) -> None:
    """As a monotonic one may: the times are longer than all that has been."""
    store.clock.now = 1_000_000
    assert tripped(store).open_until == 11_000
    store.clock.now = 500_000
    assert store.ask().retry_after == 10_000, "from when the clock was set back"
    store.clock.now = 11_000_000
    assert store.ask("probe").verdict == "admitted"
    assert store.ask("other").retry_after == 30_000


@pytest.mark.parametrize("by_hand", ["close", "half_open"])
def test_a_clock_that_was_set_back_is_nothing_to_a_circuit_that_is_not_open(store: Store, by_hand: str) -> None:
    tripped(store)
    record = store.apply(by_hand).after
    store.clock.advance(-5)
    assert store.record == record
    assert store.ask().after._replace(permits={}) == record


def test_permits_do_not_pile_up(store: Store) -> None:
    """A backend that swallows every probe for a day leaves ten leases' worth of tokens."""
    half_opened(store)
    for i in range(50):
        store.clock.advance(30)
        assert store.ask(f"p{i}").verdict == "admitted"
    assert len(store.record.permits) <= 12


def test_a_token_is_forgotten_ten_leases_after_its_end(store: Store) -> None:
    half_opened(store, "old")
    store.clock.advance(11 * 30 - 0.001)
    store.ask("second")
    assert set(store.record.permits) == {"old", "second"}
    store.clock.advance(30)
    store.ask("third")
    assert set(store.record.permits) == {"second", "third"}


def test_a_token_is_forgotten_exactly_then(store: Store) -> None:
    half_opened(store, "old")
    store.clock.advance(11 * 30)
    store.ask("second")
    assert set(store.record.permits) == {"second"}


def test_the_open_times_of_a_backend_that_never_recovers(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=1_000, multiplier=2.0, maximum=16_000)
    times = []
    for i in range(6):
        generation = store.ask(f"p{i}").after.generation
        record = store.apply("failure", f"p{i}", generation, luck=0.999).after
        times.append((record.open_until - store.clock.ms) / 1000)
        store.clock.now = record.open_until * 1000
    assert times == [1, 2, 4, 8, 16, 16]
    probe = store.ask("last").after
    store.apply("success", "last", probe.generation)
    store.policy = store.policy._replace(success_threshold=1)
    probe = store.ask("really").after
    store.apply("success", "really", probe.generation)
    generation = store.ask().after.generation
    record = store.apply("failure", generation=generation).after
    assert record.open_until - store.clock.ms == 1_000


def test_a_part_of_a_millisecond_is_a_whole_one(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=1_001, jitter=0.5)
    record = store.apply("failure", generation=store.ask().after.generation, luck=0.5).after
    assert record.open_until - store.clock.ms == 1_252, "1251.25"


def test_jitter_only_lengthens(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=1_000, jitter=0.5)
    for luck, expected in ((0.0, 1_000), (0.5, 1_250), (1 - 2**-53, 1_500)):
        store.apply("close")
        record = store.apply("failure", generation=store.record.generation, luck=luck).after
        assert record.open_until - store.clock.ms == expected


@pytest.mark.parametrize(("luck", "expected"), [(0.0, 1.0), (0.25, 1.125), (1 - 2**-53, 1.5)])
def test_jitter_lengthens_each_back_off_by_its_share(store: Store, luck: float, expected: float) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=1_000, maximum=16_000, jitter=0.5)
    times = []
    for i in range(6):
        generation = store.ask(f"p{i}").after.generation
        record = store.apply("failure", f"p{i}", generation, luck=luck).after
        times.append(record.open_until - store.clock.ms)
        store.clock.now = record.open_until * 1000
    assert times == [pytest.approx(1_000 * span * expected, abs=1) for span in (1, 2, 4, 8, 16, 16)]


@pytest.mark.parametrize("held", [True, False])
def test_a_hold_is_exact_and_the_back_off_goes_on_as_without_it(store: Store, *, held: bool) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=1_000, maximum=60_000, jitter=1.0)
    for i in range(3):
        generation = store.ask(f"p{i}").after.generation
        record = store.apply("failure", f"p{i}", generation, luck=0.5).after
        store.clock.now = record.open_until * 1000
    if held:
        generation = store.ask("held").after.generation
        record = store.apply("hold", "held", generation, duration=7_000, luck=0.999).after
        assert (record.open_until - store.clock.ms, record.trips, record.reason) == (7_000, 3, "hold")
        store.clock.advance(6.999)
        early = store.ask("early")
        assert (early.verdict, early.retry_after) == ("rejected", 1)
        store.clock.advance(0.001)
    probe = store.ask("probe")
    assert (probe.verdict, probe.after.state) == ("admitted", "half-open")
    record = store.apply("failure", "probe", probe.after.generation, luck=0.5).after
    assert (record.open_until - store.clock.ms, record.trips, record.reason) == (12_000, 4, "failures")


@pytest.mark.parametrize("trips", [1_023, 1_024, 10**6])
def test_no_number_of_trips_overflows(store: Store, trips: int) -> None:
    store.policy = POLICY._replace(multiplier=2.0, maximum=60_000)
    record = half_opened(store)
    force_trips(store, trips)
    decision = store.apply("failure", "probe", record.generation)
    assert decision.after.open_until == store.clock.ms + 60_000
    assert decision.after.trips == trips + 1


def force_trips(store: Store, trips: int) -> None:
    if hasattr(store, "client"):
        store.client.hset(store.key("ext"), "trips", trips)
    elif store.kind == "sqlite":
        store.storage._file.run_now(lambda transaction: transaction.execute("UPDATE circuits SET trips = ?", (trips,)))
    else:
        store.storage.go_on_with(store.storage._record._replace(trips=trips))


def test_a_lost_record_is_an_unused_circuit_with_a_generation_never_seen(store: Store) -> None:
    record = tripped(store)
    store.clock.advance(1)
    store.lose()
    decision = store.ask()
    assert (decision.verdict, decision.after.state, decision.after.fail_counter) == ("admitted", "closed", 0)
    assert decision.after.generation > record.generation
    assert store.apply("failure", generation=record.generation - 1).verdict == "dropped"


def test_a_store_that_went_back_to_an_older_record_repeats_no_generation(store: Store) -> None:
    """As a failover does that lost acknowledged writes: a permit of the lost part must not count."""
    before = store.ask().after
    store.clock.advance(1)
    lost = store.apply("half_open").after.generation
    restore(store, before)
    store.clock.advance(1)
    assert store.apply("half_open").after.generation > lost


def restore(store: Store, record: Record) -> None:
    if hasattr(store, "client"):
        store.client.set(store.key("state"), record.state)
        store.client.hset(store.key("ext"), mapping={"generation": record.generation, "state": record.state})
    elif "sqlite" in store.kind:
        values = (record.generation, record.state)
        store.storage._file.run_now(
            lambda transaction: transaction.execute("UPDATE circuits SET generation = ?, state = ?", values)
        )
    else:
        store.storage.go_on_with(record)


def test_two_storage_objects_share_the_circuit(store: Store) -> None:
    if store.kind == "memory":
        pytest.skip("each memory storage is a circuit of its own")
    tripped(store)
    store.storage = store.make()
    assert store.ask().verdict == "rejected"


@pytest.mark.parametrize("state", ["open", "half-open"])
def test_the_state_of_a_missing_record_is_the_constructors(store: Store, state: str) -> None:
    if store.kind == "sqlite":
        pytest.skip("its constructor takes no state")
    store.storage = store.make(state)
    assert store.record.state == state
    decision = store.ask("probe")
    assert (decision.verdict, decision.after.state) == ("admitted", "half-open")
    store.clock.advance(1)
    assert store.apply("reset").after.state == state


def test_the_longest_times_do_not_wrap(store: Store) -> None:
    store.policy = POLICY._replace(fail_max=1, reset_timeout=FOREVER)
    generation = store.ask().after.generation
    assert store.apply("failure", generation=generation).after.open_until == FOREVER
    store.clock.advance(10**9)
    assert store.ask().verdict == "rejected"
    assert math.isclose(store.ask().retry_after, FOREVER)
    store.policy = POLICY._replace(probe_timeout=FOREVER)
    store.apply("half_open")
    store.ask("probe")
    assert store.ask("other").retry_after == FOREVER - store.clock.ms


def test_pybreakers_own_storage_api_tells_the_same(store: Store) -> None:
    record = tripped(store)
    assert (store.storage.state, store.storage.counter, store.storage.success_counter) == ("open", 2, 0)
    assert store.storage.opened_at is not None
    store.apply("reset")
    assert (store.storage.state, store.storage.counter, store.storage.opened_at) == ("closed", 0, None)
    assert record.state == "open"

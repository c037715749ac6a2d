"""The store's clock is set back: what was to last for a minute doesn't last for an hour, and nothing is shortened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pybreaker_ext.machine import FOREVER, Policy

if TYPE_CHECKING:
    from stores import RedisStore, Store

HOUR = 3600.0
MINUTE = 60_000


def trip(store: Store) -> None:
    store.policy = Policy(fail_max=1)
    decision = store.ask()
    store.apply("failure", generation=decision.after.generation)


def rejected_for(store: Store) -> int:
    """Return for how many milliseconds an ask is turned away; 0 when it isn't."""
    decision = store.ask("another")
    return decision.retry_after if decision.verdict == "rejected" else 0


@pytest.mark.parametrize("seconds", [1.0, HOUR])
def test_an_open_circuit_is_open_for_one_open_time_more(store: Store, seconds: float) -> None:
    trip(store)
    store.clock.advance(-seconds)
    assert rejected_for(store) == MINUTE
    store.clock.advance(59.9)
    assert rejected_for(store) == 100
    store.clock.advance(0.1)
    assert store.ask("probe").after.state == "half-open"


def test_a_read_says_so_and_writes_nothing(store: Store) -> None:
    trip(store)
    store.clock.advance(-HOUR)
    for _ in range(2):
        decision = store.apply("read")
        assert (decision.retry_after, decision.after.open_until) == (MINUTE, store.clock.ms + MINUTE)
        store.clock.advance(1)


def test_after_an_ask_the_time_runs(store: Store) -> None:
    trip(store)
    store.clock.advance(-HOUR)
    rejected_for(store)
    store.clock.advance(20)
    decision = store.apply("read")
    assert (decision.retry_after, decision.after.opened_at) == (40_000, store.clock.ms - 20_000)


def test_a_hold_is_as_long_as_the_backend_said(store: Store) -> None:
    decision = store.ask()
    store.apply("hold", generation=decision.after.generation, duration=5000)
    store.clock.advance(-HOUR)
    assert rejected_for(store) == 5000


@pytest.mark.parametrize("duration", [86_400_000, FOREVER - 1_800_000_000_001, FOREVER])
def test_so_is_an_opening_by_hand(store: Store, duration: int) -> None:
    store.apply("open", duration=duration)
    store.clock.advance(-HOUR)
    assert rejected_for(store) == duration
    assert math.isclose(store.record.open_until, store.clock.ms + duration) or duration == FOREVER


def test_what_was_open_for_no_time_is_due(store: Store) -> None:
    store.apply("open", duration=0)
    store.clock.advance(-HOUR)
    assert store.apply("read").after.open_until == store.clock.ms
    assert store.ask().after.state == "half-open"


def test_a_dead_probes_place_is_free_after_one_lease(store: Store) -> None:
    store.apply("half_open")
    assert store.ask("dead").verdict == "admitted"
    store.clock.advance(-HOUR)
    assert rejected_for(store) == store.policy.probe_timeout
    store.clock.advance(store.policy.probe_timeout / 1000)
    assert rejected_for(store) == 0


def test_its_report_counts_all_the_same(store: Store) -> None:
    store.apply("half_open")
    probe = store.ask("slow")
    store.clock.advance(-HOUR)
    rejected_for(store)
    assert store.apply("success", "slow", probe.after.generation).after.state == "closed"


def test_pybreakers_workers_are_told_when_it_was_opened(redis_store: RedisStore) -> None:
    trip(redis_store)
    redis_store.clock.advance(-HOUR)
    rejected_for(redis_store)
    assert redis_store.get("opened_at") == str(redis_store.clock.ms // 1000)
    generation = redis_store.record.generation
    rejected_for(redis_store)
    assert redis_store.record.generation == generation


def test_a_foreign_opening_of_tomorrow_is_open_from_now(redis_store: RedisStore) -> None:
    """Plain pybreaker writes what its own clock says; that this is ahead is no sign that the store's was set back."""
    opened = redis_store.clock.ms // 1000 + 86_400
    redis_store.client.set(redis_store.key("opened_at"), opened)
    redis_store.client.set(redis_store.key("state"), "open")
    assert rejected_for(redis_store) == MINUTE
    redis_store.clock.advance(10)
    assert rejected_for(redis_store) == MINUTE - 10_000
    assert redis_store.get("opened_at") == str(opened)

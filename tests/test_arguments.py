"""Bad arguments: the error names the argument, its value and what is allowed."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio

from pybreaker_ext import (
    Backoff,
    CircuitBreaker,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    CircuitSQLiteStorage,
    CircuitState,
)
from pybreaker_ext.errors import told

WHOLE = ["fail_max", "success_threshold", "half_open_max_calls"]
SECONDS = ["reset_timeout", "probe_timeout", "max_staleness", "max_hold"]


def refused(error: type[Exception], argument: str, value: object, function: Any) -> None:
    with pytest.raises(error) as caught:
        function()
    assert re.match(rf"{argument} must ", str(caught.value)), str(caught.value)
    assert repr(value) in str(caught.value) or told(value) in str(caught.value), str(caught.value)


@pytest.mark.parametrize("argument", WHOLE)
@pytest.mark.parametrize("value", [0, -1, 2**53])
def test_whole_numbers_out_of_range(argument: str, value: int) -> None:
    refused(ValueError, argument, value, lambda: CircuitBreaker(**{argument: value}))


@pytest.mark.parametrize("argument", WHOLE)
@pytest.mark.parametrize("value", [None, 1.5, "5", True, math.nan, math.inf, [5]])
def test_no_whole_numbers(argument: str, value: object) -> None:
    refused(TypeError, argument, value, lambda: CircuitBreaker(**{argument: value}))


@pytest.mark.parametrize("argument", SECONDS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, pytest.param(10**400, id="huge")])
def test_seconds_out_of_range(argument: str, value: float) -> None:
    refused(ValueError, argument, value, lambda: CircuitBreaker(**{argument: value}))


@pytest.mark.parametrize("argument", SECONDS)
@pytest.mark.parametrize("value", [None, "60", True, timedelta(seconds=1), Decimal(1), 1j])
def test_no_seconds(argument: str, value: object) -> None:
    refused(TypeError, argument, value, lambda: CircuitBreaker(**{argument: value}))


@pytest.mark.parametrize("argument", ["probe_timeout", "max_hold"])
def test_a_time_that_can_not_be_nothing(argument: str) -> None:
    refused(ValueError, argument, 0, lambda: CircuitBreaker(**{argument: 0}))


@pytest.mark.parametrize("argument", ["exclude", "include", "ignore"])
@pytest.mark.parametrize("value", [ValueError, "ValueError", 5, len])
def test_matchers_that_are_no_list(argument: str, value: Any) -> None:
    refused(TypeError, argument, value, lambda: CircuitBreaker(**{argument: value}))


@pytest.mark.parametrize("argument", ["exclude", "include", "ignore"])
@pytest.mark.parametrize("value", ["ValueError", 5, None])
def test_lists_of_no_matchers(argument: str, value: Any) -> None:
    refused(TypeError, argument, value, lambda: CircuitBreaker(**{argument: [ValueError, value]}))


@pytest.mark.parametrize("argument", ["failure_result", "hold_for", "hold_result"])
def test_no_functions(argument: str) -> None:
    refused(TypeError, argument, 5, lambda: CircuitBreaker(**{argument: 5}))


@pytest.mark.parametrize("value", [5, object()])
def test_listeners_that_are_no_list(value: Any) -> None:
    refused(TypeError, "listeners", value, lambda: CircuitBreaker(listeners=value))


@pytest.mark.parametrize("value", [None, "listener", dict])
def test_lists_of_no_listeners(value: Any) -> None:
    refused(TypeError, "listeners", value, lambda: CircuitBreaker(listeners=[value]))


@pytest.mark.parametrize("value", ["redis://localhost", 5, object(), CircuitMemoryStorage])
def test_no_storage(value: Any) -> None:
    refused(TypeError, "state_storage", value, lambda: CircuitBreaker(state_storage=value))


@pytest.mark.parametrize("value", [2.0, 60, "no"])
def test_no_backoff(value: Any) -> None:
    refused(TypeError, "backoff", value, lambda: CircuitBreaker(backoff=value))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("multiplier", value) for value in (0.99, 0, -2, math.inf, math.nan)],
        *[("maximum", value) for value in (0, -1, math.inf, math.nan)],
        *[("jitter", value) for value in (-0.1, 1.1, math.inf, math.nan)],
    ],
)
def test_backoff_out_of_range(argument: str, value: float) -> None:
    refused(ValueError, argument, value, lambda: Backoff(**{argument: value}))


@pytest.mark.parametrize("argument", ["multiplier", "maximum", "jitter"])
@pytest.mark.parametrize("value", [None, "2", True])
def test_backoff_of_no_numbers(argument: str, value: Any) -> None:
    refused(TypeError, argument, value, lambda: Backoff(**{argument: value}))


def test_backoff_takes_one_position() -> None:
    assert Backoff(3) == Backoff(multiplier=3, maximum=600.0, jitter=0.1)
    with pytest.raises(TypeError):
        Backoff(2, 600)  # type: ignore[misc]


@pytest.mark.parametrize("attribute", ["fail_max", "success_threshold"])
def test_whole_numbers_set_later(attribute: str) -> None:
    breaker = CircuitBreaker()
    before = getattr(breaker, attribute)
    refused(ValueError, attribute, 0, lambda: setattr(breaker, attribute, 0))
    refused(TypeError, attribute, "5", lambda: setattr(breaker, attribute, "5"))
    assert getattr(breaker, attribute) == before


def test_seconds_set_later() -> None:
    breaker = CircuitBreaker()
    refused(ValueError, "reset_timeout", -1, lambda: setattr(breaker, "reset_timeout", -1))
    refused(TypeError, "reset_timeout", "5", lambda: setattr(breaker, "reset_timeout", "5"))
    assert breaker.reset_timeout == 60


@pytest.mark.parametrize("value", [-1, math.nan, -math.inf])
def test_durations_out_of_range(value: float) -> None:
    refused(ValueError, "duration", value, lambda: CircuitBreaker().open(value))


@pytest.mark.parametrize("value", ["1", True, timedelta(1)])
def test_no_durations(value: Any) -> None:
    refused(TypeError, "duration", value, lambda: CircuitBreaker().open(value))


@pytest.mark.parametrize("value", ["", "OPEN", "half_open", None, 5, b"open"])
def test_no_state(value: Any) -> None:
    client = fakeredis.FakeRedis()
    refused(ValueError, "state", value, lambda: CircuitMemoryStorage(value))
    refused(ValueError, "state", value, lambda: CircuitRedisStorage(value, client))
    refused(
        ValueError,
        "fallback_circuit_state",
        value,
        lambda: CircuitRedisStorage("closed", client, fallback_circuit_state=value),
    )
    refused(
        ValueError,
        "fallback_circuit_state",
        value,
        lambda: CircuitSQLiteStorage("file", "n", fallback_circuit_state=value),
    )


@pytest.mark.parametrize("state", [*CircuitState, "closed", "open", "half-open"])
def test_states_by_name_or_member(state: Any) -> None:
    assert CircuitMemoryStorage(state).state == str(state)
    assert CircuitRedisStorage(state, fakeredis.FakeRedis()).state == str(state)


def test_namespaces() -> None:
    client = fakeredis.FakeRedis()
    refused(ValueError, "namespace", "", lambda: CircuitRedisStorage("closed", client, ""))
    refused(TypeError, "namespace", 5, lambda: CircuitRedisStorage("closed", client, 5))
    refused(TypeError, "namespace", b"n", lambda: CircuitRedisStorage("closed", client, b"n"))
    refused(ValueError, "namespace", "}x", lambda: CircuitRedisStorage("closed", client, "}x", cluster_mode=True))
    refused(ValueError, "namespace", "\ud800", lambda: CircuitRedisStorage("closed", client, "\ud800"))
    refused(ValueError, "namespace", "\ud800", lambda: CircuitSQLiteStorage("file", "\ud800"))
    refused(ValueError, "namespace", "", lambda: CircuitSQLiteStorage("file", ""))
    refused(TypeError, "namespace", None, lambda: CircuitSQLiteStorage("file", None))


def test_paths() -> None:
    refused(ValueError, "path", "", lambda: CircuitSQLiteStorage("", "n"))
    refused(ValueError, "path", ":memory:", lambda: CircuitSQLiteStorage(":memory:", "n"))
    refused(ValueError, "path", "a\0b", lambda: CircuitSQLiteStorage("a\0b", "n"))
    refused(TypeError, "path", b"file", lambda: CircuitSQLiteStorage(b"file", "n"))
    refused(TypeError, "path", 5, lambda: CircuitSQLiteStorage(5, "n"))


@pytest.mark.parametrize("value", [None, "redis://localhost", object(), redis.asyncio.Redis()])
def test_no_client(value: Any) -> None:
    refused(TypeError, "redis_object", value, lambda: CircuitRedisStorage("closed", value))


def test_a_cluster_without_a_tag() -> None:
    client = redis.RedisCluster.__new__(redis.RedisCluster)  # constructing one would connect
    refused(ValueError, "namespace", "plain", lambda: CircuitRedisStorage("closed", client, "plain"))
    refused(ValueError, "namespace", None, lambda: CircuitRedisStorage("closed", client))


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_key_ttl_out_of_range(value: float) -> None:
    refused(ValueError, "key_ttl", value, lambda: CircuitRedisStorage("closed", fakeredis.FakeRedis(), key_ttl=value))


@pytest.mark.parametrize("value", ["1", True, timedelta(1)])
def test_key_ttl_of_no_number(value: Any) -> None:
    refused(TypeError, "key_ttl", value, lambda: CircuitRedisStorage("closed", fakeredis.FakeRedis(), key_ttl=value))

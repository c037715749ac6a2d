"""What must hold whatever is given. Each test has a name by which `python tests/fuzz` runs it."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import tempfile
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fakeredis
from fuzz import hostile, inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import pybreaker_ext
from pybreaker_ext import config, config_file, durations, http, names, streams
from pybreaker_ext.errors import IncompleteStreamError
from pybreaker_ext.http import waiting
from pybreaker_ext.listeners import PrometheusListener, StructlogListener
from pybreaker_ext.machine import FOREVER, STATES, Event, Policy
from pybreaker_ext.storage import permits
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

#: Of settings files and SQLite files.
PLACE: Final = Path(tempfile.mkdtemp(prefix="pybreaker-ext-fuzz-"))

#: Examples of each test in a normal run.
EXAMPLES: Final = 60


def bounded(test: Callable[..., None]) -> Callable[..., None]:
    calm = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    return calm(test)


def refused(make: Callable[[], Any], argument: str) -> str:
    """Return the message of a documented error; empty when there is none.

    Raises:
        AssertionError: The message doesn't name the argument.
    """
    try:
        make()
    except (TypeError, ValueError) as error:
        message = str(error)
        assert argument in message, message
        return message
    return ""


@bounded
@given(inputs.ANYTHING)
def test_names(value: Any) -> None:
    if not refused(lambda: names.check_name(value), "name"):
        assert 1 <= len(value) <= names.LONGEST
    refused(lambda: from_url("memory://", value), "name")
    refused(lambda: pybreaker_ext.CircuitSQLiteStorage(str(PLACE / "names.db"), value), "namespace")


@bounded
@given(inputs.ANYTHING, inputs.ANYTHING, st.booleans(), inputs.ANYTHING)
def test_arguments_of_a_redis_storage(namespace: Any, state: Any, cluster: bool, key_ttl: Any) -> None:
    client = fakeredis.FakeRedis()

    def make() -> Any:
        return pybreaker_ext.CircuitRedisStorage("closed", client, namespace, cluster_mode=cluster)

    if namespace is not None and not refused(make, "namespace"):
        assert make().apply(Event("ask", "t"), Policy()).verdict == "admitted"
    refused(lambda: pybreaker_ext.CircuitRedisStorage(state, client), "state")
    refused(lambda: pybreaker_ext.CircuitRedisStorage("closed", client, key_ttl=key_ttl), "key_ttl")


@bounded
@given(st.sampled_from(sorted(config.SETTINGS)), inputs.ANYTHING)
def test_settings_of_a_breaker(name: str, value: Any) -> None:
    refused(lambda: pybreaker_ext.CircuitBreaker(**{name: value}), name if name != "throw_new_error_on_trip" else "")


@bounded
@given(inputs.URLS)
def test_urls(url: Any) -> None:
    message = refused(lambda: from_url(url, "any"), "url")
    assert inputs.PASSWORD not in message


@bounded
@given(inputs.SETTINGS)
def test_settings_as_data(mapping: Any) -> None:
    refused(lambda: config.tables_of(mapping), "")


@bounded
@given(st.sampled_from([".toml", ".yaml"]), inputs.FILES)
def test_settings_files(ending: str, content: bytes) -> None:
    path = PLACE / f"settings{ending}"
    path.write_bytes(content)
    refused(lambda: config.tables_of_file(path), str(path))
    refused(lambda: config_file.read(path), str(path))


@bounded
@given(inputs.DURATIONS)
def test_durations(value: Any) -> None:
    found = durations.in_seconds(value)
    assert found is value or (isinstance(found, float) and found >= 0)


@bounded
@given(inputs.HEADERS)
def test_retry_after(headers: list[tuple[str, str]]) -> None:
    wait = waiting.wait_of(headers)
    assert wait is None or 0 <= wait <= waiting.LONGEST


@bounded
@given(st.text(st.characters(), max_size=40))
def test_stored_permits(text: str) -> None:
    with suppress(ValueError):
        found = permits.from_text(text)
        assert permits.from_text(permits.to_text(found)) == found
        assert all(end <= FOREVER for end in found.values())


@bounded
@given(inputs.REPLIES)
def test_replies_of_a_redis_server(reply: Any) -> None:
    """A server that answers nonsense is away, and the call goes on."""
    storage: Any = pybreaker_ext.CircuitRedisStorage("closed", fakeredis.FakeRedis(), "replies")
    storage._link.run = lambda *_: reply
    breaker = pybreaker_ext.CircuitBreaker(state_storage=storage)
    assert breaker.call(lambda: "result") == "result"
    assert breaker.current_state in STATES


@bounded
@given(
    st.dictionaries(st.sampled_from(["state", "fail_counter", "success_counter", "opened_at"]), inputs.VALUES),
    st.dictionaries(
        st.sampled_from(["generation", "open_until", "opened_at", "trips", "reason", "permits", "state", "opened"]),
        inputs.VALUES,
    ),
)
def test_values_in_redis(keys: dict[str, bytes], fields: dict[str, bytes]) -> None:
    """Whatever somebody has written there: the call goes on, and the record can be used again."""
    client = fakeredis.FakeRedis()
    for name, value in keys.items():
        client.set(f"values:pybreaker:{name}", value)
    if fields:
        client.hset("values:pybreaker:ext", mapping=fields)
    _goes_on(pybreaker_ext.CircuitRedisStorage("closed", client, "values"))


@bounded
@given(st.lists(inputs.CELLS, min_size=9, max_size=9))
def test_rows_of_sqlite(cells: list[Any]) -> None:
    storage = pybreaker_ext.CircuitSQLiteStorage(PLACE / "rows.db", "rows")
    storage.apply(Event("reset"), Policy())
    with closing(sqlite3.connect(PLACE / "rows.db", isolation_level=None)) as file:
        row = ("rows", *(0 if cell is None else cell for cell in cells))
        file.execute("DELETE FROM circuits")
        file.execute("INSERT INTO circuits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    _goes_on(storage)


@bounded
@given(st.integers(1, 9), st.binary(min_size=1, max_size=6))
def test_texts_of_sqlite_that_are_none(column: int, content: bytes) -> None:
    """SQLite keeps what it is told is a text."""
    storage = pybreaker_ext.CircuitSQLiteStorage(PLACE / "texts.db", "texts")
    storage.apply(Event("open", duration=FOREVER), Policy())
    with closing(sqlite3.connect(PLACE / "texts.db", isolation_level=None)) as file:
        name = file.execute("SELECT name FROM pragma_table_info('circuits')").fetchall()[column][0]
        file.execute(f"UPDATE circuits SET {name} = CAST(? AS TEXT)", (content,))  # noqa: S608  the layout's own
        file.execute("UPDATE circuit_changes SET worker = CAST(? AS TEXT)", (content,))
    _goes_on(storage)
    assert storage.outage.epoch == 0, "one bad row is no outage of all circuits"
    storage.history(10)


def _goes_on(storage: Any) -> None:
    """A call is admitted or rejected, and the circuit obeys again."""
    breaker = pybreaker_ext.CircuitBreaker(state_storage=storage)
    with suppress(pybreaker_ext.CircuitBreakerError):
        assert breaker.call(lambda: "result") == "result"
    assert breaker.snapshot().retry_after >= 0
    breaker.close()
    assert breaker.call(lambda: "result") == "result"
    breaker.open(math.inf)
    assert breaker.current_state == "open"


def _rules() -> dict[str, Any]:
    return {
        "hold_for": http.retry_after,
        "ignore": [http.is_client_error],
        "include": [http.is_provider_failure, lambda error: bool(error)],
        "exclude": [KeyError, lambda error: error.args],
        "failure_result": http.failed_response,
        "hold_result": http.retry_after,
    }


def _breaker(listeners: list[Any], chosen: list[str]) -> Any:
    rules = {name: rule for name, rule in _rules().items() if name in chosen}
    seeing = [StructlogListener(), PrometheusListener(registry=CollectorRegistry())]
    return pybreaker_ext.CircuitBreaker(fail_max=2, reset_timeout=0, listeners=[*listeners, *seeing], **rules)


RULES: Final = st.lists(st.sampled_from(sorted(_rules())))


def _in_both_colours(breaker: Any, function: Callable[[], Any], check: Callable[[Callable[[], Any]], None]) -> None:
    """Call a function in all the ways there are."""

    async def coroutine() -> Any:
        return function()

    def block() -> Any:
        with breaker.calling():
            return function()

    async def block_async() -> Any:
        async with breaker.calling():
            return function()

    with _quiet():
        for _ in range(3):
            check(lambda: breaker.call(function))
            check(breaker(function))
            check(block)
            check(lambda: asyncio.run(breaker.call_async(function)))
            check(lambda: asyncio.run(breaker(coroutine)()))
            check(lambda: asyncio.run(block_async()))


class _quiet:  # noqa: N801  used like a function
    """Nothing to be seen: what goes wrong is what is tried."""

    def __enter__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *how: object) -> None:
        self._warnings.__exit__(*how)
        logging.disable(logging.NOTSET)


@bounded
@given(hostile.ERRORS, RULES)
def test_errors_of_a_call(recipe: Any, rules: list[str]) -> None:
    """The caller gets the call's own error, or the circuit's."""
    error = hostile.error_of(*recipe)

    def function() -> Any:
        raise error

    def check(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as found:  # noqa: BLE001  whatever it is
            assert found is error or type(found) is pybreaker_ext.CircuitBreakerError, type(found).__mro__  # noqa: PT017
        else:
            raise AssertionError("the error was swallowed")

    _in_both_colours(_breaker([], rules), function, check)


@bounded
@given(hostile.OBJECTS, RULES)
def test_results_of_a_call(recipe: hostile.Recipe, rules: list[str]) -> None:
    result = recipe.make()

    def check(call: Callable[[], Any]) -> None:
        with suppress(pybreaker_ext.CircuitBreakerError):
            assert call() is result

    _in_both_colours(_breaker([], rules), lambda: result, check)


PREDICATES: Final = (
    *(streams.openai_complete, streams.openai_error, streams.anthropic_complete, streams.anthropic_error),
    *(None, bool, lambda chunk: chunk == "end", lambda chunk: chunk["type"]),
)


@bounded
@given(st.lists(hostile.OBJECTS, max_size=4), st.sampled_from(PREDICATES), st.sampled_from(PREDICATES))
def test_chunks_of_a_stream(recipes: list[hostile.Recipe], complete: Any, failure_chunk: Any) -> None:
    """All chunks come through, whatever the rules make of them."""
    chunks = [recipe.make() for recipe in recipes]
    breaker = _breaker([], [])
    rules = {"complete": complete, "failure_chunk": failure_chunk}

    def function() -> Iterator[Any]:
        yield from chunks

    async def function_async() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    def consume() -> list[Any]:
        got: list[Any] = []
        with suppress(IncompleteStreamError, pybreaker_ext.CircuitBreakerError):
            for chunk in breaker.stream(function, **rules):
                got.append(chunk)  # noqa: PERF402  what came before the end counts
        return got

    async def consume_async() -> list[Any]:
        got: list[Any] = []
        with suppress(IncompleteStreamError, pybreaker_ext.CircuitBreakerError):
            async for chunk in breaker.stream(function_async, **rules):
                got.append(chunk)  # noqa: PERF401
        return got

    with _quiet():
        for _ in range(2):
            breaker.close()
            assert list(map(id, consume())) == list(map(id, chunks))
            breaker.close()
            assert list(map(id, asyncio.run(consume_async()))) == list(map(id, chunks))


@bounded
@given(st.lists(hostile.LISTENERS, min_size=1, max_size=2), st.sampled_from(["result", "error"]))
def test_hooks_of_listeners(hooks: list[dict[str, str]], ending: str) -> None:
    listeners = [hostile.listener_of(each) for each in hooks]
    error = ValueError("the call's own")

    def function() -> str:
        if ending == "error":
            raise error
        return ending

    def check(call: Callable[[], Any]) -> None:
        try:
            assert call() == "result"
        except ValueError as found:
            assert found is error  # noqa: PT017
        except pybreaker_ext.CircuitBreakerError:
            pass

    with _quiet():
        try:
            breaker = _breaker(listeners, [])
        except (TypeError, ValueError) as refusal:
            assert "listener" in str(refusal)  # noqa: PT017
            return
    _in_both_colours(breaker, function, check)


#: By name.
TESTS: Final[dict[str, Any]] = {
    name.removeprefix("test_"): test for name, test in list(globals().items()) if name.startswith("test_")
}

"""What must hold whatever is given. Each test has a name by which `python tests/fuzz` runs it."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import sqlite3
import tempfile
import traceback
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import fakeredis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import pybreaker_ext
from fuzz import hostile, inputs
from pybreaker_ext import config, config_file, durations, factory, http, names, streams
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
@given(st.sampled_from(["memory://", f"sqlite:///{PLACE}/registry.db", ""]), inputs.ANYTHING)
def test_names_given_to_a_registry(url: str, name: Any) -> None:
    """A name is refused, or has one breaker, whose store takes it."""
    where = {"url": url} if url else {"client": fakeredis.FakeRedis()}
    with pybreaker_ext.CircuitBreakerRegistry(**where) as registry:
        if not refused(lambda: registry.get(name), "name"):
            breaker = registry.get(name)
            assert (breaker, breaker.name) == (registry.get(name), name)
            assert breaker.call(lambda: "result") == "result"
            assert breaker.snapshot().shared


@bounded
@given(st.sampled_from(sorted(config.SETTINGS)), inputs.ANYTHING, inputs.ANYTHING)
def test_settings_given_to_a_registry(setting: str, value: Any, another: Any) -> None:
    told = setting if setting != "throw_new_error_on_trip" else ""
    with pybreaker_ext.CircuitBreakerRegistry("memory://") as registry:
        if not refused(lambda: registry.get("any", **{setting: value}), told):
            assert registry.get("any", **{setting: value}) is registry.get("any")
            refused(lambda: registry.get("any", **{setting: another}), told)


#: Of `get_circuit_breaker`, by which its messages tell what is wrong.
ARGUMENTS: Final = ("url", "name", *sorted(config.SETTINGS), "nope")


@bounded
@given(inputs.URLS, inputs.ANYTHING, st.dictionaries(st.sampled_from(ARGUMENTS[2:]), inputs.ANYTHING, max_size=2))
def test_arguments_of_get_circuit_breaker(url: Any, name: Any, given_too: dict[str, Any]) -> None:
    """The same breaker from everywhere, or a message that names an argument, and never a password."""

    def make() -> Any:
        return pybreaker_ext.get_circuit_breaker(url, name, **given_too)

    try:
        message = refused(make, "")
        assert not message or any(argument in message for argument in ARGUMENTS), message
        assert inputs.PASSWORD not in message
        if not message:
            assert make() is make()
    finally:
        for registry in factory._registries.take_all():
            registry.close()


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


class Came(NamedTuple):
    """What came of a call. Kept apart from all that shows, hashes or chains what goes wrong."""

    result: Any
    error: BaseException | None


def _came(call: Callable[[], Any]) -> Came:
    try:
        return Came(call(), None)
    except BaseException as error:  # noqa: BLE001  whatever it is
        return Came(None, error)


def _came_async(call: Callable[[], Any]) -> Came:
    """A task must not hold it: asyncio shows its tasks."""
    came: list[Came] = []

    async def main() -> None:
        try:
            came.append(Came(await call(), None))
        except BaseException as error:  # noqa: BLE001  whatever it is
            came.append(Came(None, error))

    asyncio.run(main())
    return came[0]


def _in_both_colours(breaker: Any, function: Callable[[], Any]) -> Iterator[Came]:
    """Call a function in all the ways there are; yield what came of each."""

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
            yield _came(lambda: breaker.call(function))
            yield _came(breaker(function))
            yield _came(block)
            yield _came_async(lambda: breaker.call_async(function))
            yield _came_async(breaker(coroutine))
            yield _came_async(block_async)


def _is_circuits(came: Came) -> bool:
    return type(came.error) is pybreaker_ext.CircuitBreakerError


def _told(came: Came) -> str:
    """Tell where an error is from, which may do harm when it is shown."""
    if came.error is None:
        return "another result"
    where = BaseException.__dict__["__traceback__"].__get__(came.error)
    steps = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(where)]
    return f"{type.__getattribute__(type(came.error), '__name__')} from {' '.join(steps)}"


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

    for came in _in_both_colours(_breaker([], rules), function):
        assert came.error is error or _is_circuits(came), _told(came)


@bounded
@given(hostile.OBJECTS, RULES)
def test_results_of_a_call(recipe: hostile.Recipe, rules: list[str]) -> None:
    result = recipe.make()

    for came in _in_both_colours(_breaker([], rules), lambda: result):
        assert (came.error is None and came.result is result) or _is_circuits(came), _told(came)


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

    def consume(got: list[Any]) -> None:
        for chunk in breaker.stream(function, **rules):
            got.append(chunk)  # noqa: PERF402  what came before the end counts

    async def consume_async(got: list[Any]) -> None:
        async for chunk in breaker.stream(function_async, **rules):
            got.append(chunk)  # noqa: PERF401  what came before the end counts

    with _quiet():
        for _ in range(2):
            for run, consumer in ((_came, consume), (_came_async, consume_async)):
                got: list[Any] = []
                breaker.close()
                came = run(functools.partial(consumer, got))
                assert came.error is None or type(came.error) in (
                    IncompleteStreamError,
                    pybreaker_ext.CircuitBreakerError,
                ), _told(came)
                assert list(map(id, got)) == list(map(id, chunks))


@bounded
@given(st.lists(hostile.LISTENERS, min_size=1, max_size=2), st.sampled_from(["result", "error"]))
def test_hooks_of_listeners(hooks: list[dict[str, str]], ending: str) -> None:
    listeners = [hostile.listener_of(each) for each in hooks]
    error = ValueError("the call's own")

    def function() -> str:
        if ending == "error":
            raise error
        return ending

    with _quiet():
        try:
            breaker = _breaker(listeners, [])
        except (TypeError, ValueError) as refusal:
            assert "listener" in str(refusal)  # noqa: PT017
            return
    for came in _in_both_colours(breaker, function):
        right = came.error is error if ending == "error" else came.error is None and came.result == "result"
        assert right or _is_circuits(came), _told(came)


#: By name.
TESTS: Final[dict[str, Any]] = {
    name.removeprefix("test_"): test for name, test in list(globals().items()) if name.startswith("test_")
}

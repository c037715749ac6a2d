"""What the errors of real HTTP clients are judged to be, against a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import aiohttp
import anthropic
import httpx
import openai
import pytest
import requests
import urllib3
from backend import (
    ANSWERS,
    BROKEN,
    CALLERS,
    CASES,
    EVENTS,
    FAILURE,
    HELD,
    IN_SEVEN_SECONDS,
    SOON,
    SUCCESS,
    Backend,
    Case,
    serving,
    verdict_of,
)
from hypothesis import given
from hypothesis import strategies as st

from pybreaker_ext import Backoff, CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage, FailedResult, policies
from pybreaker_ext.http import (
    failed_response,
    is_client_error,
    is_provider_failure,
    retry_after,
    status_of,
    throttled_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import stores

    from pybreaker_ext.testing import CircuitBreakers

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "http-errors.md"
#: Seconds that clients wait.
PATIENCE = 0.3
#: What SDKs ask.
QUESTION: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with serving(Backend()) as running:
        yield running


class Log:
    def __init__(self) -> None:
        self.neutrals: list[Any] = []
        self.failures: list[Any] = []

    def neutral(self, _breaker: Any, error: Any) -> None:
        self.neutrals.append(error)

    def failure(self, _breaker: Any, error: Any) -> None:
        self.failures.append(error)


class Judging:
    """A breaker with the preset for one call, and what it made of it."""

    def __init__(self, **settings: Any) -> None:
        self.log = Log()
        self.breaker = CircuitBreaker(
            **policies.llm(
                fail_max=1,
                reset_timeout=1,
                throw_new_error_on_trip=False,
                listeners=[self.log],
                state_storage=CircuitMemoryStorage(clock=lambda: 0.0),
                **settings,
            )
        )
        self.error: Exception | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> str:
        try:
            self.breaker.call(function, *args)
        except Exception as error:  # noqa: BLE001  whatever the client raises
            self.error = error
        return verdict_of(self.breaker, self.log)

    async def call_async(self, function: Callable[..., Any], *args: Any) -> str:
        try:
            await self.breaker.call_async(function, *args)
        except Exception as error:  # noqa: BLE001  whatever the client raises
            self.error = error
        return verdict_of(self.breaker, self.log)


def patience(url: str) -> float:
    """Return the seconds to wait for an answer: few only where none will come, for a busy machine is no stall."""
    return PATIENCE if "stalls" in url else 30.0


def ask_httpx(url: str) -> None:
    httpx.get(url, timeout=patience(url)).raise_for_status().json()


def ask_requests(url: str) -> None:
    with requests.get(url, timeout=patience(url)) as response:
        response.raise_for_status()
        response.json()


def ask_aiohttp(url: str) -> None:
    asyncio.run(ask_aiohttp_async(url))


async def ask_aiohttp_async(url: str) -> None:
    limit = aiohttp.ClientTimeout(total=patience(url))
    async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as response:
        response.raise_for_status()
        await response.json()


def ask_urllib(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=patience(url)) as response:  # noqa: S310  ours
            json.load(response)
    except urllib.error.HTTPError as error:
        error.close()
        raise


def ask_urllib3(url: str) -> Any:
    """It raises for no status."""
    retries = urllib3.Retry(1, backoff_factor=0, respect_retry_after_header=False)
    with urllib3.PoolManager(retries=retries, timeout=patience(url)) as pool:
        response = pool.request("GET", url)
        response.json()
        return response


def ask_openai(url: str, **settings: Any) -> None:
    with openai.OpenAI(api_key="k", base_url=url, timeout=patience(url), **{"max_retries": 0, **settings}) as client:
        client.chat.completions.create(**QUESTION)


def ask_anthropic(url: str, **settings: Any) -> None:
    with anthropic.Anthropic(
        api_key="k", base_url=url, timeout=patience(url), **{"max_retries": 0, **settings}
    ) as client:
        client.messages.create(max_tokens=1, **QUESTION)


CLIENTS = OrderedDict(
    httpx=ask_httpx,
    requests=ask_requests,
    aiohttp=ask_aiohttp,
    urllib=ask_urllib,
    urllib3=ask_urllib3,
    openai=ask_openai,
    anthropic=ask_anthropic,
)


@pytest.fixture(scope="module")
def found(backend: Backend) -> dict[tuple[str, str], Judging]:
    """What became of each case with each client, by both names; filled by the tests."""
    return {}


def judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> Judging:
    if (client, case.path) not in found:
        found[client, case.path] = judging = Judging()
        judging.call(CLIENTS[client], backend.url(case))
    return found[client, case.path]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_each_error_is_judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> None:
    judging = judged(found, backend, client, case)
    returned = judging.error is None
    expected = SUCCESS if returned and case.judged == CALLERS else case.judged
    assert verdict_of(judging.breaker, judging.log) == expected, repr(judging.error)
    if not returned:
        assert_predicates(judging.error, case)
    assert returned == (case.path == "200" or (client == "urllib3" and case.status > 0))


def assert_predicates(error: object, case: Case) -> None:
    """The breaker counts what no rule fits as a failure; the rules must fit."""
    assert is_provider_failure(error) == (case.judged == FAILURE)
    assert is_client_error(error) == (case.judged == CALLERS)
    if case.status:
        assert status_of(error) == case.status


def test_the_documented_table_is_what_was_found(found: dict[Any, Judging], backend: Backend) -> None:
    """Run with WRITE_TABLES=1 it writes the table."""
    rows = [["the backend answers", "judged to be", *CLIENTS], ["---"] * (2 + len(CLIENTS))]
    for case in CASES:
        errors = [judged(found, backend, client, case).error for client in CLIENTS]
        rows.append([case.told, case.judged, *map(shown, errors)])
    compare_table("clients", rows)


def shown(error: Exception | None) -> str:
    return f"`{type(error).__name__}`" if error else "-"


def compare_table(name: str, rows: list[list[str]]) -> None:
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    page = PAGE.read_text("utf-8")
    marked = re.compile(rf"(<!-- {name}: begin -->\n).*?(\n<!-- {name}: end -->)", re.DOTALL)
    written = marked.sub(lambda marks: f"{marks[1]}{table}{marks[2]}", page)
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(written, "utf-8")
    assert written == PAGE.read_text("utf-8"), "WRITE_TABLES=1 writes what is true now"


@pytest.mark.parametrize("sdk", [openai, anthropic], ids=lambda sdk: sdk.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_sdks_that_retry_by_themselves(backend: Backend, monkeypatch: pytest.MonkeyPatch, sdk: Any, case: Case) -> None:
    """By default an SDK tries three times, and the breaker sees the last; only its sleeping is left out."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    before = backend.asked
    judging = Judging()
    assert judging.call(lambda: ask_as_it_is(sdk, backend.url(case))) == case.judged, repr(judging.error)
    if case.path in {"500", "429-ms", "closes"}:
        assert backend.asked - before == 3


def ask_as_it_is(sdk: Any, url: str) -> None:
    """Ask by an SDK that keeps its own retries."""
    make, question = (sdk.OpenAI, QUESTION) if sdk is openai else (sdk.Anthropic, {"max_tokens": 1, **QUESTION})
    with make(api_key="k", base_url=url, timeout=patience(url)) as client:
        (client.chat.completions if sdk is openai else client.messages).create(**question)


async def ask_as_it_is_async(sdk: Any, url: str) -> None:
    make = sdk.AsyncOpenAI if sdk is openai else sdk.AsyncAnthropic
    question = QUESTION if sdk is openai else {"max_tokens": 1, **QUESTION}
    async with make(api_key="k", base_url=url, timeout=patience(url)) as client:
        await (client.chat.completions if sdk is openai else client.messages).create(**question)


@pytest.mark.parametrize("sdk", [openai, anthropic], ids=lambda sdk: sdk.__name__)
@pytest.mark.parametrize("path", ["503-ms", "429-soon"])
def test_three_requests_of_an_sdk_are_one_call(backend: Backend, sdk: Any, path: str) -> None:
    """Nothing of it is replaced: it sleeps for as long as the backend asks, some milliseconds here."""
    case = SOON[path]
    for run in (
        lambda judging: judging.call(ask_as_it_is, sdk, backend.url(case)),
        lambda judging: asyncio.run(judging.call_async(ask_as_it_is_async, sdk, backend.url(case))),
    ):
        before, judging = backend.asked, Judging()
        assert run(judging) == case.judged
        assert backend.asked - before == 3
        told = (len(judging.log.failures), len(judging.log.neutrals), judging.breaker.snapshot().trips)
        assert told == ((1, 0, 1) if case.judged == FAILURE else (0, 1, 0))


@pytest.mark.parametrize("case", [*HELD, *ANSWERS[:4], *BROKEN], ids=lambda case: case.path)
def test_asynchronous_clients(backend: Backend, case: Case) -> None:
    url = backend.url(case)

    async def ask_httpx_async() -> None:
        async with httpx.AsyncClient(timeout=patience(url)) as client:
            (await client.get(url)).raise_for_status().json()

    async def ask_openai_async() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=url, timeout=patience(url), max_retries=0) as client:
            await client.chat.completions.create(**QUESTION)

    async def ask_anthropic_async() -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, timeout=patience(url), max_retries=0) as client:
            await client.messages.create(max_tokens=1, **QUESTION)

    async def main() -> None:
        for ask in (ask_httpx_async, ask_openai_async, ask_anthropic_async, lambda: ask_aiohttp_async(url)):
            assert await Judging().call_async(ask) == case.judged

    asyncio.run(main())


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.path)
def test_responses_that_are_returned_and_not_raised(backend: Backend, case: Case) -> None:
    """They are judged alike, but that the caller's mistake was an answer: it counts as a success."""
    url = backend.url(case)
    expected = case.judged if case.judged == FAILURE or case in HELD else "success"

    async def ask_async() -> Any:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response

    def ask_with_requests() -> Any:
        with requests.get(url, timeout=patience(url)) as response:
            return response

    for ask in (lambda: httpx.get(url), ask_with_requests):
        judging = Judging()
        assert (judging.call(ask), judging.error) == (expected, None)
        told = judging.log.neutrals + judging.log.failures
        assert [type(error) for error in told] == [FailedResult] * (expected != "success")
    judging = Judging()
    assert (asyncio.run(judging.call_async(ask_async)), judging.error) == (expected, None)


class TestStatus:
    @pytest.mark.parametrize("value", [None, "404", 404.0, True, 99, 600, -1, 10**30, [], MagicMock()])
    def test_what_is_none(self, value: object) -> None:
        for name in ("status_code", "status", "code"):
            assert status_of(error_with(**{name: value})) is None

    def test_a_code_is_a_status_with_some_clients_only(self) -> None:
        assert status_of(error_with(code=404)) is None
        assert status_of(error_of("google.genai.errors", "APIError", code=404, status="NOT_FOUND")) == 404

    def test_a_result_needs_headers_to_be_a_response(self) -> None:
        order = SimpleNamespace(status=500)
        assert (status_of(order), failed_response(order)) == (None, False)

    def test_of_what_it_comes_from(self) -> None:
        outer = ValueError()
        outer.__cause__ = KeyError()
        outer.__cause__.__cause__ = error_with(status_code=503)
        assert (status_of(outer), is_provider_failure(outer)) == (503, True)

    def test_the_nearest_counts(self) -> None:
        outer = error_with(status_code=400)
        outer.__cause__ = error_with(status_code=503)
        assert (status_of(outer), is_client_error(outer), is_provider_failure(outer)) == (400, True, False)

    def test_a_circle_has_an_end(self) -> None:
        first, second = ValueError(), KeyError()
        first.__cause__, second.__cause__ = second, first
        assert status_of(first) is None

    def test_ten_steps_are_enough(self) -> None:
        def chain(length: int) -> BaseException:
            error: BaseException = error_with(status_code=503)
            for _ in range(length - 1):
                outer = ValueError()
                outer.__cause__, error = error, outer
            return error

        assert [status_of(chain(length)) for length in (10, 11)] == [503, None]

    def test_what_was_being_handled_counts_for_clients_only(self) -> None:
        """Somebody else's error, raised in the handling of a 429, may be about another backend."""
        for name, expected in [("app", None), ("litellm.exceptions", 429)]:
            error = error_of(name, "SomeError")
            error.__context__ = error_with(status_code=429)
            assert status_of(error) == expected
            error.__suppress_context__ = True
            assert status_of(error) is None

    def test_aws(self) -> None:
        metadata = {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "9"}}
        error = error_with(response={"Error": {"Code": "X"}, "ResponseMetadata": metadata})
        assert (status_of(error), retry_after(error)) == (429, 9)
        throttled = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        assert is_provider_failure(error_with(response=throttled))
        assert not is_client_error(error_with(response=throttled))


#: What a header may say.
PARTS = ["7", "2", "0", "soon", "", "-7", IN_SEVEN_SECONDS, "Tue, 20 Nov 2001 10:00:02 GMT"]


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7),
            (" 7 ", 7),
            ("0", 0),
            ("1.5", 1.5),
            ("30, 20", 30),
            ("soon, 20,, -7", 20),
            ("soon, later", None),
            ("Tue, 20 Nov 2001 10:00:07 GMT, Tue, 20 Nov 2001 10:00:09 GMT", 9),
            ("Tue, 20 Nov 2001 10:00:07 GMT, 5", 7),
            ("9, Tue, 20 Nov 2001 10:00:07 GMT, soon", 9),
            ("Tue, 20 Nov 2001 09:00:00 GMT, 5", 5),
            ("Tuesday, 20-Nov-01 10:00:07 GMT, Tue Nov 20 10:00:08 2001", 8),
            ("Tuesday", None),
            ("86401", 86_400),
            ("9" * 5000, 86_400),
            ("Tue, 20 Nov 2001 10:00:07 GMT", 7),
            ("Tuesday, 20-Nov-01 10:00:07 GMT", 7),
            ("Tue Nov 20 10:00:07 2001", 7),
            ("Tue, 20 Nov 2001 11:00:07 +0100", 7),
            ("Tue, 20 Nov 2035 10:00:00 GMT", 86_400),
            ("Tue, 20 Nov 2001 09:59:59 GMT", None),
            ("Tue, 32 Nov 2001 10:00:07 GMT", None),
            ("Tue, 20 Nov 99999999999 10:00:07 GMT", None),
            ("-7", None),
            ("+7", None),
            ("inf", None),
            ("nan", None),
            ("1e3", None),
            ("٣", None),
            ("", None),
            ("soon", None),
        ],
    )
    def test_values(self, value: str, seconds: float | None) -> None:
        headers = {"Retry-After": value, "Date": "Tue, 20 Nov 2001 10:00:00 GMT"}
        assert retry_after(error_with(status=429, headers=headers)) == seconds

    @pytest.mark.parametrize("date", [None, "yesterday"])
    def test_without_the_servers_date_ours_counts(self, monkeypatch: pytest.MonkeyPatch, date: str | None) -> None:
        monkeypatch.setattr(time, "time", lambda: 1_006_250_400.0)
        headers = {"Retry-After": "Tue, 20 Nov 2001 10:00:07 GMT"} | ({"Date": date} if date else {})
        assert retry_after(error_with(status=429, headers=headers)) == 7

    @pytest.mark.parametrize(
        ("milliseconds", "seconds", "expected"),
        [("2500", "2", 2.5), ("2500", "7", 7), ("x", "7", 7), ("2500", "x", 2.5), ("-1", "-1", None)],
    )
    def test_the_larger_of_both(self, milliseconds: str, seconds: str, expected: float | None) -> None:
        headers = {"retry-after-ms": milliseconds, "retry-after": seconds}
        assert retry_after(error_with(status=429, headers=headers)) == expected

    @pytest.mark.parametrize(
        "headers",
        [
            {"RETRY-AFTER": "7"},
            httpx.Headers({"Retry-After": "7"}),
            requests.structures.CaseInsensitiveDict({"Retry-After": "7"}),
            [("Retry-After", "7")],
            [(b"retry-after", b"7")],
            (header for header in [("x",) * 2, ("retry-after", "7")]),
        ],
        ids=lambda headers: type(headers).__name__,
    )
    def test_forms_of_headers(self, headers: Any) -> None:
        assert retry_after(error_with(status=429, headers=headers)) == 7

    @given(st.lists(st.sampled_from(PARTS), max_size=5), st.lists(st.sampled_from(PARTS), max_size=2))
    def test_a_client_may_join_what_came_more_than_once(self, values: list[str], dates: list[str]) -> None:
        separate = [*(("Retry-After", value) for value in values), *(("Date", date) for date in dates)]
        joined = {"retry-after": ", ".join(values), "date": ",".join(dates)}
        assert retry_after(error_with(status=429, headers=separate)) == retry_after(
            error_with(status=429, headers=joined)
        )

    def test_of_more_than_a_hundred_parts_the_first_count(self) -> None:
        for parts, expected in ((["soon"] * 99 + ["7"], 7), (["soon"] * 100 + ["7"], None)):
            assert retry_after(error_with(status=429, headers={"Retry-After": ",".join(parts)})) == expected

    def test_an_emails_headers(self) -> None:
        message = Message()
        message["Retry-After"] = "7"
        assert retry_after(error_with(status=429, headers=message)) == 7

    @pytest.mark.parametrize("headers", [None, 5, "Retry-After: 7", [1, 2], [("a",)], {1: 2}, object(), MagicMock()])
    def test_what_is_no_headers(self, headers: Any) -> None:
        assert retry_after(error_with(status=429, headers=headers)) is None

    @pytest.mark.parametrize(
        ("status", "seconds"), [(200, None), (202, None), (301, None), (400, None), (403, None), (503, 7), (529, 7)]
    )
    def test_who_may_ask_for_it(self, status: int, seconds: float | None) -> None:
        error = error_with(status=status, headers={"Retry-After": "7"})
        assert (retry_after(error), throttled_for(error)) == (seconds, None)
        throttled = error_with(status=429, headers={"Retry-After": "7"})
        assert (retry_after(throttled), throttled_for(throttled)) == (7, 7)

    def test_a_429_to_come_back_from_at_once_is_a_failure(self) -> None:
        assert is_provider_failure(error_with(status=429, headers={"Retry-After": "0"}))

    @given(st.text())
    def test_garbage_never_raises(self, value: str) -> None:
        found = retry_after(error_with(status=429, headers={"Retry-After": value, "Date": value}))
        assert found is None or 0 <= found <= 86_400


class Evil(Exception):  # noqa: N818  that it is
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Recursive(Exception):  # noqa: N818
    @property
    def response(self) -> Any:
        return self


@pytest.mark.parametrize(
    "function", [status_of, retry_after, throttled_for, is_client_error, is_provider_failure, failed_response]
)
@pytest.mark.parametrize(
    "make", [Evil, Recursive, MagicMock, lambda: None, int, str, dict, list, object, KeyboardInterrupt, ValueError]
)
def test_nothing_raises(function: Callable[[object], Any], make: Callable[[], Any]) -> None:
    assert not function(make())


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        ssl.SSLError(),
        socket.gaierror(),
        http.client.RemoteDisconnected(),
        http.client.IncompleteRead(b""),
        OSError(113, "No route to host"),
        urllib.error.URLError(OSError(113, "No route to host")),
    ],
    ids=repr,
)
def test_the_standard_librarys_failures(error: Exception) -> None:
    assert (is_provider_failure(error), is_client_error(error)) == (True, False)


@pytest.mark.parametrize("error", [ValueError(), OSError(2, "No such file"), KeyError(), StopIteration()], ids=repr)
def test_what_has_nothing_to_do_with_http(error: Exception) -> None:
    assert (is_provider_failure(error), is_client_error(error)) == (False, False)


def test_requests_that_were_never_sent_are_the_callers_mistake() -> None:
    for ask in (lambda: httpx.get("gopher://x"), lambda: requests.get("x", timeout=1)):
        judging = Judging()
        assert judging.call(ask) == "the caller's mistake"


def test_retries_that_urllib3_has_given_up(backend: Backend) -> None:
    """Its error says which status came too often in words only."""
    retries = urllib3.Retry(1, backoff_factor=0, status_forcelist=[503])
    url = backend.url(next(case for case in ANSWERS if case.path == "503"))
    with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
        pool.request("GET", url, retries=retries)
    assert is_provider_failure(caught.value)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        with pytest.raises(requests.exceptions.RetryError) as caught_by_requests:
            session.get(url, timeout=patience(url))
    assert is_provider_failure(caught_by_requests.value)


@pytest.mark.parametrize("module", [openai, anthropic])
@pytest.mark.parametrize("case", EVENTS, ids=lambda case: case.path)
def test_a_stream_that_goes_wrong_is_a_failure(backend: Backend, module: Any, case: Case) -> None:
    """Anthropic's error then has the status 200 that the stream began with, OpenAI's none."""
    url = backend.url(case)
    settings: Any = {"api_key": "k", "base_url": url, "max_retries": 0, "timeout": patience(url)}

    def read() -> None:
        if module is openai:
            with openai.OpenAI(**settings) as client, client.chat.completions.create(**QUESTION, stream=True) as stream:
                list(stream)
        else:
            with (
                anthropic.Anthropic(**settings) as client,
                client.messages.create(max_tokens=1, **QUESTION, stream=True) as stream,
            ):
                list(stream)

    judging = Judging()
    assert judging.call(read) == FAILURE
    if case.path == "event":
        assert isinstance(judging.error, module.APIError)
    assert (is_provider_failure(judging.error), is_client_error(judging.error)) == (True, False)


def test_a_response_may_be_false() -> None:
    """As those of requests are from 400 on."""
    response = requests.Response()
    response.status_code = 503
    assert (bool(response), failed_response(response)) == (False, True)


class TestHolds:
    """Of results and of errors, in every store."""

    @pytest.mark.parametrize(("asked", "held"), [(7, 7), (86_400, 600)])
    def test_of_results(self, store: stores.Store, asked: float, held: float) -> None:
        breaker = CircuitBreaker(state_storage=store.storage, **policies.http())
        response = httpx.Response(429, headers={"Retry-After": str(asked)})
        assert breaker.call(lambda: response) is response
        look = breaker.snapshot()
        assert (look.state, look.reason, look.trips, look.fail_counter) == ("open", "hold", 0, 0)
        assert look.retry_after == pytest.approx(held, abs=0.1)
        with pytest.raises(CircuitBreakerError) as caught:
            breaker.call(lambda: response)
        assert caught.value.reason == "hold"

    def test_of_results_in_asyncio(self, store: stores.Store) -> None:
        async def main() -> None:
            breaker = CircuitBreaker(state_storage=store.storage, **policies.http(max_hold=3))

            async def ask() -> Any:
                return httpx.Response(429, headers={"Retry-After": "7"})

            assert (await breaker.call_async(ask)).status_code == 429
            assert (await breaker.snapshot_async()).retry_after == pytest.approx(3, abs=0.1)

        asyncio.run(main())

    def test_decorated_functions_are_asked_too(self) -> None:
        breaker = CircuitBreaker(hold_result=lambda result: result)
        assert breaker(lambda: 5)() == 5
        assert breaker.snapshot().reason == "hold"

    @pytest.mark.parametrize("seconds", [None, 0, -1, True, "7", float("inf"), float("nan")])
    def test_what_is_no_hold_may_be_a_failure(self, seconds: Any) -> None:
        breaker = CircuitBreaker(hold_result=lambda _: seconds, failure_result=lambda _: True)
        breaker.call(int)
        assert (breaker.current_state, breaker.fail_counter) == ("closed", 1)

    def test_a_rule_that_raises_makes_a_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        breaker = CircuitBreaker(hold_result=lambda _: 1 / 0)
        assert breaker.call(int) == 0
        assert breaker.fail_counter == 1
        assert "A rule failed to judge a result" in caplog.text

    def test_a_hold_of_an_error_is_capped(self, circuit_breakers: CircuitBreakers) -> None:
        breaker = circuit_breakers.get("claude", hold_for=lambda _: 1e300, max_hold=2, success_threshold=1)
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)
        circuit_breakers.clock.advance(1.5)
        assert breaker.retry_after == 0.5
        circuit_breakers.clock.advance(0.5)
        assert breaker.call(int) == 0
        assert circuit_breakers.outcomes("claude").states == ("open", "half-open", "closed")


class TestHoldsOf5xx:
    """They are failures, that also say when to come back: `hold_for` tells what becomes of them."""

    @pytest.mark.parametrize("status", [408, 500, 503, 529])
    def test_of_itself_retry_after_holds(self, status: int) -> None:
        error = error_with(status=status, headers={"Retry-After": "7"})
        assert (retry_after(error), throttled_for(error), is_provider_failure(error)) == (7, None, True)
        breaker = CircuitBreaker(fail_max=3, hold_for=retry_after)
        with pytest.raises(type(error)):
            breaker.call(failing(error))
        look = breaker.snapshot()
        assert (look.reason, look.fail_counter, look.trips, round(look.retry_after)) == ("hold", 0, 0, 7)

    @pytest.mark.parametrize("policy", [policies.http, policies.llm])
    @pytest.mark.parametrize("returned", [False, True])
    def test_with_a_policy_they_trip_and_back_off(
        self, store: stores.Store, policy: Callable[..., Any], *, returned: bool
    ) -> None:
        """A backend that always sends a short `Retry-After` is left alone for longer and longer."""
        backoff = Backoff(2, maximum=16, jitter=0)
        settings = policy(fail_max=2, reset_timeout=5, backoff=backoff, throw_new_error_on_trip=False)
        breaker = CircuitBreaker(state_storage=store.storage, max_staleness=0.0, **settings)
        response = httpx.Response(503, headers={"Retry-After": "1"}, request=httpx.Request("GET", "http://backend"))
        ask = (lambda: response) if returned else response.raise_for_status
        waits = []
        for _ in range(5):
            with contextlib.suppress(httpx.HTTPStatusError):
                breaker.call(ask)
            look = breaker.snapshot()
            waits.append(look.retry_after)
            store.clock.advance(look.retry_after)
        assert waits == [0, 5, 10, 16, 16]
        assert (look.reason, look.trips) == ("failures", 4)

    def test_throttling_at_aws_is_a_429(self) -> None:
        def error(status: int, code: str) -> Exception:
            metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "9"}}
            return error_with(response={"Error": {"Code": code}, "ResponseMetadata": metadata})

        for status in (400, 429, 503):
            assert throttled_for(error(status, "ThrottlingException")) == 9
            assert not is_provider_failure(error(status, "ThrottlingException"))
        assert throttled_for(error(503, "ServiceUnavailable")) is None


def failing(error: Exception) -> Callable[[], None]:
    def backend() -> None:
        raise error

    return backend


class TestPolicies:
    def test_what_is_given_wins(self) -> None:
        assert policies.llm(probe_timeout=1, fail_max=2)["probe_timeout"] == 1
        assert policies.llm()["probe_timeout"] == 600
        assert set(policies.llm()) - set(policies.http()) == {"probe_timeout"}

    def test_no_two_share_a_list(self) -> None:
        assert policies.llm()["ignore"] is not policies.llm()["ignore"]


def error_with(**attributes: Any) -> Exception:
    return error_of("app", "SomeError", **attributes)


def error_of(module: str, name: str, **attributes: Any) -> Exception:
    """Return an error as a client would raise it."""
    error: Exception = type(name, (Exception,), {"__module__": module})()
    error.__dict__.update(attributes)
    return error


def test_a_number_that_is_no_errors_status_hides_nothing_behind_it() -> None:
    class JobError(Exception):
        status = 137

    response = httpx.Response(429, headers={"Retry-After": "7"}, request=httpx.Request("GET", "http://backend"))
    error = JobError()
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    error.__cause__ = caught.value
    assert (status_of(error), retry_after(error)) == (429, 7)
    assert status_of(JobError()) == 137


def test_a_returned_429_is_a_failure_for_who_does_not_hold() -> None:
    response = httpx.Response(429, headers={"Retry-After": "20"}, request=httpx.Request("GET", "http://backend"))
    assert failed_response(response)
    breaker = CircuitBreaker(fail_max=1, failure_result=failed_response)
    assert breaker.call(lambda: response) is response
    assert (breaker.current_state, breaker.snapshot().reason) == ("open", "failures")

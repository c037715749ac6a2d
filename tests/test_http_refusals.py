"""Requests that a client refuses to send are the caller's mistakes, however deep in a chain of errors it says so.

Each is made with the real client, at a backend that would answer with 200.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import httpx
import openai
import pytest
import requests
import urllib3
from backend import CALLERS, CASES, Backend, serving
from test_http_errors import QUESTION, Judging, ask_aiohttp, ask_anthropic, ask_openai, error_of

from pybreaker_ext.http import is_client_error, is_provider_failure, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: No client has an adapter for it.
NOPE = "nope://127.0.0.1"
WITH_A_LINE = {"x": "1\n"}
NOT_LATIN = {"x": "€"}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with serving(Backend()) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def ask_aiohttp_with(url: str, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers):
            pass

    asyncio.run(main())


def ask_urllib(url: str, headers: dict[str, str] | None = None) -> None:
    urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30).close()  # noqa: S310  ours


def ask_urllib3(url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("GET", url)


def ask_openai_with(url: str, key: str | None) -> None:
    with openai.OpenAI(api_key=key, base_url=url, max_retries=0) as client:
        client.chat.completions.create(**QUESTION)


def ask_anthropic_with(url: str, key: str | None, tokens: int = 1) -> None:
    with anthropic.Anthropic(api_key=key, base_url=url, max_retries=0) as client:
        client.messages.create(max_tokens=tokens, **QUESTION)


REFUSALS: dict[str, Callable[[str], Any]] = {
    "httpx, scheme": lambda _: httpx.get(NOPE),
    "httpx, port": lambda _: httpx.get("http://127.0.0.1:port"),
    "httpx, header": lambda url: httpx.get(url, headers=WITH_A_LINE),
    "httpx, text": lambda url: httpx.get(url, headers=NOT_LATIN),
    "requests, scheme": lambda _: requests.get(NOPE, timeout=30),
    "requests, no scheme": lambda _: requests.get("127.0.0.1", timeout=30),
    "requests, header": lambda url: requests.get(url, headers=WITH_A_LINE, timeout=30),
    "requests, text": lambda url: requests.get(url, headers=NOT_LATIN, timeout=30),
    "requests, body": lambda url: requests.post(url, json=float("nan"), timeout=30),
    "aiohttp, scheme": lambda _: ask_aiohttp(NOPE),
    "aiohttp, no scheme": lambda _: ask_aiohttp("127.0.0.1"),
    "urllib, scheme": lambda _: ask_urllib(NOPE),
    "urllib, no scheme": lambda _: ask_urllib("127.0.0.1"),
    "urllib, no host": lambda _: ask_urllib("http://"),
    "urllib, text": lambda url: ask_urllib(url, NOT_LATIN),
    "urllib3, scheme": lambda _: ask_urllib3(NOPE),
    "urllib3, no host": lambda _: ask_urllib3("http://"),
    "openai, scheme": lambda _: ask_openai(NOPE),
    "openai, port": lambda _: ask_openai("http://127.0.0.1:port"),
    "openai, no key": lambda url: ask_openai_with(url, None),
    "openai, a key with a line's end": lambda url: ask_openai_with(url, "k\n"),
    "openai, a key of no Latin": lambda url: ask_openai_with(url, "€"),
    "anthropic, scheme": lambda _: ask_anthropic(NOPE),
    "anthropic, no key": lambda url: ask_anthropic_with(url, None),
    "anthropic, a key with a line's end": lambda url: ask_anthropic_with(url, "k\n"),
    "anthropic, an answer that would take too long": lambda url: ask_anthropic_with(url, "k", 10**6),
}


@pytest.mark.parametrize("ask", REFUSALS.values(), ids=REFUSALS)
def test_of_real_clients(backend: Backend, ask: Callable[[str], Any]) -> None:
    before = backend.asked
    judging = Judging()
    assert judging.call(ask, backend.url(CASES[0])) == CALLERS, repr(judging.error)
    assert (is_client_error(judging.error), is_provider_failure(judging.error)) == (True, False)
    assert backend.asked == before


def test_the_same_request_in_order_is_none(backend: Backend) -> None:
    for ask in (ask_openai_with, ask_anthropic_with):
        judging = Judging()
        assert judging.call(ask, backend.url(CASES[0]), "k") == "success", repr(judging.error)


@pytest.mark.parametrize("text", ["Missing credentials of another kind", "", "No, missing credentials", None])
def test_words_count_only_where_a_client_says_them(text: str | None) -> None:
    args = () if text is None else (text,)
    for module, name in [("builtins", "ValueError"), ("builtins", "TypeError"), ("app", "OpenAIError")]:
        error = error_of(module, name)
        error.args = args
        assert not is_client_error(error)
    known = error_of("openai", "OpenAIError")
    known.args = args
    assert is_client_error(known) == (text is not None and text.startswith("Missing"))


def test_cohere_says_it_in_a_body() -> None:
    for body, expected in [("The client must be instantiated with a token", True), ("no", False), (None, False)]:
        assert is_client_error(error_of("cohere.core.api_error", "ApiError", body=body)) == expected


def chained(*errors: BaseException) -> BaseException:
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def test_behind_an_answer_it_is_another_request() -> None:
    """The backend that answered the one wasn't asked by the other."""
    refused = httpx.UnsupportedProtocol("nope")
    answered = error_of("app", "SomeError", status_code=503)
    assert is_provider_failure(chained(httpx.ConnectError(""), answered, refused))
    assert is_provider_failure(chained(answered, refused))
    assert is_client_error(chained(httpx.ConnectError(""), refused))


def test_a_status_that_litellm_makes_up_is_no_answer() -> None:
    def made_up() -> Exception:
        return error_of("litellm.exceptions", "InternalServerError", status_code=500)

    refused, failed = httpx.UnsupportedProtocol("nope"), httpx.ConnectError("")
    assert is_client_error(chained(made_up(), made_up(), refused))
    assert is_provider_failure(chained(made_up(), made_up(), failed))
    assert is_provider_failure(made_up())


@pytest.mark.parametrize("status", [400, 404, 429, 503])
def test_retries_that_urllib3_has_given_up_are_judged_by_the_status_they_tell(backend: Backend, status: int) -> None:
    """It has thrown the responses away, and with them what a 429 said about later."""
    retries = urllib3.Retry(1, backoff_factor=0, status_forcelist=[status])
    url = backend.url(next(case for case in CASES if case.path == str(status)))

    def ask_with_urllib3() -> None:
        with urllib3.PoolManager(retries=retries) as pool:
            pool.request("GET", url)

    def ask_with_requests() -> None:
        with requests.Session() as session:
            session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
            session.get(url, timeout=30)

    for ask, raised in (
        (ask_with_urllib3, urllib3.exceptions.MaxRetryError),
        (ask_with_requests, requests.exceptions.RetryError),
    ):
        judging = Judging()
        verdict = judging.call(ask)
        assert isinstance(judging.error, raised)
        assert status_of(judging.error) == status
        assert verdict == (CALLERS if status in {400, 404} else "failure")


def test_too_many_redirects_have_no_status() -> None:
    error = urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ResponseError("too many redirects"))  # type: ignore[arg-type]
    assert (status_of(error), is_provider_failure(error)) == (None, True)


@pytest.mark.parametrize(
    "error",
    [
        json.JSONDecodeError("Expecting value", "<html>", 0),
        requests.exceptions.JSONDecodeError("Expecting value", "<html>", 0),
        error_of("pybreaker_ext.errors", "IncompleteStreamError"),
        error_of("aiohttp.client_exceptions", "ContentTypeError", status=200),
        error_of("google.genai.errors", "UnknownApiResponseError"),
        error_of("mistralai.client.errors", "MistralError", status_code=200),
    ],
    ids=lambda error: type(error).__name__,
)
def test_answers_that_are_none(error: Exception) -> None:
    assert (is_provider_failure(error), is_client_error(error)) == (True, False)


@pytest.mark.parametrize(
    ("module", "name", "failed"),
    [
        ("json.decoder", "JSONDecodeError", True),
        ("pybreaker_ext.errors", "IncompleteStreamError", True),
        ("openai", "APIConnectionError", False),
    ],
)
def test_what_was_being_handled_counts_for_clients_only(module: str, name: str, *, failed: bool) -> None:
    error = error_of(module, name)
    error.__context__ = httpx.UnsupportedProtocol("nope")
    assert (is_provider_failure(error), is_client_error(error)) == (failed, not failed)


def test_a_redirect_to_nowhere_is_the_servers_fault() -> None:
    for name in ("InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError"):
        error = getattr(aiohttp, name)("nope://x")
        assert (is_provider_failure(error), is_client_error(error)) == (True, False)

"""Of an exception group the gravest error counts, and the longest wait."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from backend import CALLERS, CASES, FAILURE, Backend, serving
from servers import free_port
from test_http_errors import Judging, error_with

from pybreaker_ext.http import is_client_error, is_provider_failure, retry_after, status_of, throttled_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with serving(Backend()) as running:
        yield running


def answer(status: int, seconds: object = None) -> Exception:
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return error_with(status_code=status, headers=headers)


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("some", errors)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["404"], CALLERS),
        (["404", "400"], CALLERS),
        (["503"], FAILURE),
        (["404", "503"], FAILURE),
        (["closes", "404"], FAILURE),
        (["404", "429-seconds"], "hold, 7 s"),
        (["429-ms", "429-seconds", "503"], "hold, 7 s"),
    ],
)
def test_of_tasks_that_all_fail(backend: Backend, paths: list[str], expected: str) -> None:
    """They fail in one step, or the first would cancel the others."""
    cases = {case.path: case for case in CASES}
    errors = [caught_from(backend.url(cases[path])) for path in paths]

    async def fail(error: Exception) -> None:
        raise error

    async def with_asyncio() -> None:
        async with asyncio.TaskGroup() as tasks:
            for error in errors:
                tasks.create_task(fail(error))

    async def with_anyio() -> None:
        async with anyio.create_task_group() as tasks:
            for error in errors:
                tasks.start_soon(fail, error)

    for run in (with_asyncio, with_anyio):
        judging = Judging()
        assert asyncio.run(judging.call_async(run)) == expected
        assert isinstance(judging.error, ExceptionGroup)
        assert set(judging.error.exceptions) == set(errors)


def caught_from(url: str) -> Exception:
    with pytest.raises(httpx.HTTPError) as caught:
        httpx.get(url, timeout=30).raise_for_status()
    return caught.value


def test_an_address_where_nobody_listens() -> None:
    """anyio tells of its attempts behind its error, of several in a group."""
    with pytest.raises(OSError, match="All connection attempts failed") as caught:
        anyio.run(anyio.connect_tcp, "localhost", free_port())
    assert is_provider_failure(caught.value)


class TestTheGravestCounts:
    def test_a_failure_first(self) -> None:
        error = group(answer(404), KeyError(), answer(429, 7), answer(503, 3))
        assert (status_of(error), is_provider_failure(error), is_client_error(error)) == (503, True, False)
        assert (throttled_for(error), retry_after(error)) == (7, 7)

    def test_then_a_hold(self) -> None:
        error = group(answer(404), KeyError(), answer(429, 7))
        assert (status_of(error), is_provider_failure(error), is_client_error(error)) == (429, False, False)

    def test_then_what_is_neither(self) -> None:
        error = group(answer(404), KeyError())
        assert (status_of(error), is_provider_failure(error), is_client_error(error)) == (None, False, False)

    def test_of_equals_the_first(self) -> None:
        assert status_of(group(answer(404), answer(400))) == 404

    def test_the_longest_wait(self) -> None:
        error = group(answer(503, 60), answer(429, 3), answer(429, 7))
        assert (throttled_for(error), retry_after(error)) == (7, 60)


def test_groups_in_groups_and_behind_errors() -> None:
    error = ValueError()
    error.__cause__ = group(group(answer(404)), group(answer(404), group(answer(503))))
    assert (status_of(error), is_provider_failure(error)) == (503, True)


def test_what_its_errors_come_from() -> None:
    outer = ValueError()
    outer.__cause__ = answer(503)
    assert is_provider_failure(group(answer(404), outer))


def test_a_group_with_a_status_of_its_own() -> None:
    error = group(answer(503))
    error.status_code = 404  # type: ignore[attr-defined]
    assert is_client_error(error)


def test_a_hundred_errors_are_looked_at() -> None:
    errors = [answer(404) for _ in range(100)]
    assert is_provider_failure(group(*errors[1:], answer(503)))
    assert not is_provider_failure(group(*errors, answer(503)))


def test_ten_steps_count_groups_too() -> None:
    def nested(depth: int) -> Exception:
        error = answer(503)
        for _ in range(depth):
            error = group(error)
        return error

    assert [is_provider_failure(nested(depth)) for depth in (9, 10)] == [True, False]


def test_a_huge_group_takes_no_time() -> None:
    """A tree of groups of groups with ten to the eighth leaves, all of them the same few objects."""
    error: Exception = group(*[answer(404)] * 10)
    for _ in range(8):
        error = group(*[error] * 10)
    began = time.process_time()
    assert not is_provider_failure(error)
    assert time.process_time() - began < 5


def test_a_circle_through_a_group_has_an_end() -> None:
    inner = answer(503)
    error = group(answer(404), inner)
    inner.__cause__ = error
    assert is_provider_failure(error)
    outer = ValueError()
    outer.__cause__ = group(outer)
    assert status_of(outer) is None


def test_a_group_that_lies_about_its_errors() -> None:
    class Lying(ExceptionGroup[Exception]):
        exceptions: Any = property(lambda _self: 1 / 0)  # type: ignore[assignment]

    class Strange(ExceptionGroup[Exception]):
        exceptions: Any = (None, 5, KeyboardInterrupt)  # type: ignore[assignment]

    for kind in (Lying, Strange):
        error = kind("some", [answer(503)])
        assert (status_of(error), is_provider_failure(error), retry_after(error)) == (None, False, None)

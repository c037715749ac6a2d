"""What a callable is, seen by its code and never by its attributes."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any
from unittest.mock import MagicMock

import pytest

from pybreaker_ext import CircuitBreaker
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, PLAIN, kind_of


def plain() -> None: ...


def generator() -> Any:
    yield


async def coroutine() -> None: ...


async def async_generator() -> Any:
    yield


class Caller:
    def __call__(self) -> None: ...

    async def coroutine(self) -> None: ...

    @staticmethod
    async def static() -> None: ...

    @classmethod
    async def by_class(cls) -> None: ...


class AsyncCaller:
    async def __call__(self) -> None: ...


class GeneratorCaller:
    def __call__(self) -> Any:
        yield


@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (plain, PLAIN),
        (len, PLAIN),
        (int, PLAIN),
        (Caller(), PLAIN),
        (AsyncCaller, PLAIN),
        (MagicMock(), PLAIN),
        ("".join, PLAIN),
        (functools.partial(plain), PLAIN),
        (functools.lru_cache(plain), PLAIN),
        (generator, GENERATOR),
        (GeneratorCaller(), GENERATOR),
        (functools.partial(generator), GENERATOR),
        (coroutine, COROUTINE),
        (AsyncCaller(), COROUTINE),
        (Caller().coroutine, COROUTINE),
        (Caller.static, COROUTINE),
        (Caller.by_class, COROUTINE),
        (functools.partial(functools.partial(coroutine)), COROUTINE),
        (functools.partial(AsyncCaller()), COROUTINE),
        (async_generator, ASYNC_GENERATOR),
        (functools.partial(async_generator), ASYNC_GENERATOR),
    ],
)
def test_kinds(func: Any, kind: str) -> None:
    assert kind_of(func) == kind


@pytest.mark.skipif(sys.version_info < (3, 12), reason="markcoroutinefunction is of Python 3.12")
def test_marked() -> None:
    def made() -> Any:
        return coroutine()

    assert kind_of(inspect.markcoroutinefunction(made)) == COROUTINE


def test_a_mock_is_called_like_a_function() -> None:
    mock = MagicMock(return_value=5)
    assert CircuitBreaker().call(mock, 1, x=2) == 5
    mock.assert_called_once_with(1, x=2)

"""What is protected: functions that do nothing else, and a listener that implements every hook."""

from __future__ import annotations

from typing import Any

import pybreaker


class FailureError(Exception):
    """The pretended backend's error."""


def succeed() -> int:
    return 1


def fail() -> int:
    raise FailureError("the backend is down")


async def succeed_async() -> int:
    return 1


async def fail_async() -> int:
    raise FailureError("the backend is down")


class Listener(pybreaker.CircuitBreakerListener):
    """pybreaker's four hooks and our two, all empty: what is measured is telling, not listening."""

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def success(self, cb: Any) -> None:
        pass

    def failure(self, cb: Any, exc: BaseException) -> None:
        pass

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        pass

    def rejected(self, cb: Any, error: BaseException) -> None:
        pass

    def neutral(self, cb: Any, exc: BaseException) -> None:
        pass

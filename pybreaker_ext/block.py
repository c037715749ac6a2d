"""A protected `with` block."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pybreaker_ext.breaker import CircuitBreaker
    from pybreaker_ext.storage.view import Permit

P = ParamSpec("P")
R = TypeVar("R")


class Block(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """What `calling` returns: `with` or `async with`, once; or, as in pybreaker, a decorator.

    Raises:
        RuntimeError: It is entered again, or left without having been entered.
    """

    __slots__ = ("_breaker", "_entered", "_permit")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._entered = False
        self._permit: Permit | None = None

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        """Return `func` protected, like `breaker.protect(func)`."""
        return self._breaker.protect(func)

    def __enter__(self) -> None:
        """Ask; raise CircuitBreakerError when rejected."""
        self._enter()
        self._permit = self._breaker._ask(self._breaker.calling, (), {})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Report how the block ended; raise CircuitBreakerError when its error has opened the circuit."""
        permit = self._leave()
        if error is None:
            self._breaker._succeeded(permit)
        else:
            self._breaker._failed(permit, error)

    async def __aenter__(self) -> None:
        """Ask; raise CircuitBreakerError when rejected."""
        self._enter()
        self._permit = await self._breaker._ask_async(self._breaker.calling, (), {})

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Report how the block ended; raise CircuitBreakerError when its error has opened the circuit."""
        permit = self._leave()
        if error is None:
            await self._breaker._succeeded_async(permit)
        else:
            await self._breaker._failed_async(permit, error)

    def _enter(self) -> None:
        if self._entered:
            message = "a block of calling() can be entered once; call calling() again for another one"
            raise RuntimeError(message)
        self._entered = True

    def _leave(self) -> Permit:
        permit, self._permit = self._permit, None
        if permit is None:
            message = "a block of calling() can be left once, after it was entered"
            raise RuntimeError(message)
        return permit

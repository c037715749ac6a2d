"""A protected `with` block."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pybreaker_ext.admission import CircuitAdmission


class Block(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """What `calling` returns: `with` and `async with`, once each."""

    __slots__ = ("_breaker", "_func", "_permit")

    def __init__(self, breaker: CircuitAdmission, func: Callable[..., Any]) -> None:
        self._breaker = breaker
        self._func = func

    def __enter__(self) -> None:
        """Ask; raise CircuitBreakerError when rejected."""
        self._permit = self._breaker._ask(self._func, (), {})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Report how the block ended; raise CircuitBreakerError when its error has opened the circuit."""
        if error is None:
            self._breaker._succeeded(self._permit)
        else:
            self._breaker._failed(self._permit, error)

    async def __aenter__(self) -> None:
        """Ask; raise CircuitBreakerError when rejected."""
        self._permit = await self._breaker._ask_async(self._func, (), {})

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Report how the block ended; raise CircuitBreakerError when its error has opened the circuit."""
        if error is None:
            await self._breaker._succeeded_async(self._permit)
        else:
            await self._breaker._failed_async(self._permit, error)

"""The circuit breaker around a function: ask, run, report. Between ask and report nothing is held."""

from __future__ import annotations

import functools
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from pybreaker_ext import settings
from pybreaker_ext.block import Block
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, PLAIN, is_awaitable, kind_of
from pybreaker_ext.outcome import Judge
from pybreaker_ext.quick import is_deferred, protected_coroutine, protected_function
from pybreaker_ext.streaming import CircuitStreams
from pybreaker_ext.streams.rules import NAMES, NO_RULES, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from pybreaker_ext.storage.view import Permit

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(CircuitStreams):
    """Stops calls to a backend that keeps failing, and lets a few probes find out when it is well.

    All workers that use the same storage share one circuit. No lock, transaction or script is
    held while the protected function runs.

    Args:
        fail_max: Consecutive failures that open the circuit; at least 1.
        reset_timeout: Seconds for which the circuit stays open before it is probed; 0 or more.
        success_threshold: Successful probes that close the circuit; at least 1.
        exclude: Exception types and predicates `exc -> bool` that count as a success.
        listeners: Objects with any of the hooks of `pybreaker.CircuitBreakerListener`, and
            optionally `rejected(cb, error)` and `neutral(cb, exc)`.
        state_storage: Where the circuit is kept; a new `CircuitMemoryStorage` by default.
        name: Told in errors and logs.
        throw_new_error_on_trip: Whether the call that opens the circuit raises
            `CircuitBreakerError` (with the call's error as `__cause__`) instead of its own error.
        include: If given, only these exception types and predicates count as failures; all other
            exceptions are neutral.
        ignore: Exception types and predicates that count as nothing.
        failure_result: Tells whether a result is a failure. The caller still gets the result.
        hold_for: Returns the seconds for which the backend asked to be left alone (Retry-After),
            or anything but a positive, finite number when it didn't.
        half_open_max_calls: Probes that may be out at once, in the whole fleet; at least 1.
        probe_timeout: Seconds after which a probe that has not reported makes room for another
            one; above 0. Longer than the slowest healthy call.
        backoff: How much longer each further trip keeps the circuit open; None: not at all.
        max_staleness: Seconds for which a decision may rely on what this object saw last; 0 or
            more. What this object does itself it knows at once. 0: every decision asks the store.
        hold_result: The same as `hold_for`, of a result: seconds, or anything else for none. Asked
            before `failure_result`. The caller still gets the result.
        max_hold: Seconds, above 0, for which a hold keeps the circuit open at most, whatever the
            backend asked for.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        fail_max: int = 5,
        reset_timeout: float = 60,
        success_threshold: int = 1,
        exclude: Iterable[Any] | None = None,
        listeners: Sequence[Any] | None = None,
        state_storage: Any = None,
        name: str | None = None,
        throw_new_error_on_trip: bool = True,  # noqa: FBT001, FBT002  pybreaker's own signature
        *,
        include: Iterable[Any] | None = None,
        ignore: Iterable[Any] | None = None,
        failure_result: Callable[[Any], Any] | None = None,
        hold_for: Callable[[BaseException], Any] | None = None,
        half_open_max_calls: int = 1,
        probe_timeout: float = 30.0,
        backoff: settings.Backoff | None = None,
        max_staleness: float = 0.1,
        hold_result: Callable[[Any], Any] | None = None,
        max_hold: float = 600.0,
    ) -> None:
        super().__init__(
            fail_max,
            reset_timeout,
            success_threshold,
            state_storage,
            name,
            listeners,
            half_open_max_calls=half_open_max_calls,
            probe_timeout=probe_timeout,
            backoff=backoff,
            max_staleness=max_staleness,
        )
        self._throw_new_error_on_trip = throw_new_error_on_trip
        self._excluded_exceptions = settings.matchers("exclude", exclude)
        self._judge = Judge(
            settings.matchers("include", include),
            settings.matchers("ignore", ignore),
            settings.function("failure_result", failure_result),
            settings.function("hold_for", hold_for),
            settings.function("hold_result", hold_result),
            settings.positive_seconds("max_hold", max_hold),
        )

    # The overrides below take what pybreaker's take, and promise more about what comes back.

    def call(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Call `func` if the circuit lets it, and count how it ended.

        `call` is for functions of all kinds. `call_async` is a coroutine function itself, for asyncio,
        and Tornado 5 and newer; it also protects what a plain function returns, when that has to be
        awaited, to its end.

        Returns:
            What `func` returns. From `call`, a coroutine function, or one that returns a coroutine,
            gives an awaitable. A function that makes or returns a generator, of either kind, gives a
            guarded one. All are admitted when they begin to run and count when they have ended.

        Raises:
            CircuitBreakerError: The call was rejected, or its failure has opened the circuit.
        """
        kind = kind_of(func)
        if kind is not PLAIN:
            return cast("R", self._deferred(kind, func, args, kwargs))
        result: R = self._run(func, args, kwargs)
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Ask, run, report."""
        permit = self._ask(func, args, kwargs)
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            self._failed(permit, error)
            raise
        return self._returned(permit, result)

    def _returned(self, permit: Permit, result: Any) -> Any:
        """Report what a call returned, and return it to the caller."""
        if is_deferred(result):
            self._give_back(permit)
            return self._guard_result(result)
        self._ended(permit, result)
        return result

    @overload  # type: ignore[override]
    def call_async(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def call_async(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...

    async def call_async(self, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call `func` if the circuit lets it, and count how it ended.

        `call` is for functions of all kinds. `call_async` is a coroutine function itself, for asyncio,
        and Tornado 5 and newer; it also protects what a plain function returns, when that has to be
        awaited, to its end.

        Returns:
            What `func` returns. From `call`, a coroutine function, or one that returns a coroutine,
            gives an awaitable. A function that makes or returns a generator, of either kind, gives a
            guarded one. All are admitted when they begin to run and count when they have ended.

        Raises:
            CircuitBreakerError: The call was rejected, or its failure has opened the circuit.
        """
        kind = kind_of(func)
        if kind is GENERATOR or kind is ASYNC_GENERATOR:
            return self._deferred(kind, func, args, kwargs)
        return await self._run_async(func, args, kwargs)

    async def _run_async(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Ask, run, report."""
        permit = await self._ask_async(func, args, kwargs)
        try:
            result = func(*args, **kwargs)
            if is_awaitable(result):
                result = await result
        except BaseException as error:
            await self._failed_async(permit, error)
            raise
        return await self._returned_async(permit, result)

    async def _returned_async(self, permit: Permit, result: Any) -> Any:
        """Report what a call returned, and return it to the caller."""
        if is_deferred(result):
            await self._give_back_async(permit)
            return self._guard_result(result)
        await self._ended_async(permit, result)
        return result

    def calling(self) -> Block:  # type: ignore[override]
        """Return a context manager that protects the block of a `with` or `async with` like a call.

        Raises:
            CircuitBreakerError: On entering, the block was rejected; on leaving, its error has
                opened the circuit.
            RuntimeError: It is entered a second time.
        """
        return Block(self)

    @overload  # type: ignore[override]
    def __call__(self, func: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **options: bool,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def __call__(self, func: Any = None, /, **options: Any) -> Any:
        """Protect a function: `@breaker` or `@breaker()`.

        With any of the arguments of `stream`, the function's results are streams, guarded as by `stream`.

        Raises:
            TypeError: `func` is nothing that can be called, an argument is unknown or of the wrong type.
            ValueError: A time-out isn't above 0 and finite.
        """
        call_async = options.pop("__pybreaker_call_async", False)
        unknown = options.keys() - NAMES
        if unknown:
            message = f"the decorator takes no argument {min(unknown)!r}, only {', '.join(sorted(NAMES))}"
            raise TypeError(message)
        protect = self._protected_for_tornado if call_async else self.protect
        if options:
            rules = checked(**options)
            protect = functools.partial(self._protected, protect=lambda func: self._protected_stream(func, rules))
        return protect if func is None else protect(func)

    def protect(self, func: Callable[P, R]) -> Callable[P, R]:
        """Return `func` protected by this breaker, with its own signature.

        Raises:
            TypeError: `func` is nothing that can be called.
        """
        protected: Callable[P, R] = self._protected(func, self._protect)
        return protected

    def _protected(self, func: Any, protect: Callable[[Any], Any]) -> Any:
        if isinstance(func, (staticmethod, classmethod)):
            return type(func)(self._protected(func.__func__, protect))
        if not callable(func):
            message = f"only a function can be protected, not {func!r}"
            raise TypeError(message)
        return protect(func)

    def _protect(self, func: Any) -> Any:
        kind = kind_of(func)
        if kind is PLAIN:
            return self._protected_plain(func)
        if kind is COROUTINE:
            return self._protected_coroutine(func)
        return self._protected_stream(func, NO_RULES)

    def _protected_plain(self, func: Any) -> Any:
        if type(self).call is CircuitBreaker.call and not self._judge.judges_results:
            return protected_function(self, func)

        @functools.wraps(func)
        def protected(*args: Any, **kwargs: Any) -> Any:
            return self.call(func, *args, **kwargs)

        return protected

    def _protected_coroutine(self, func: Any) -> Any:
        if type(self).call_async is CircuitBreaker.call_async and not self._judge.judges_results:
            return protected_coroutine(self, func)

        @functools.wraps(func)
        async def protected(*args: Any, **kwargs: Any) -> Any:
            return await self.call_async(func, *args, **kwargs)

        return protected

    def _protected_for_tornado(self, func: Any) -> Any:
        """As pybreaker's `__pybreaker_call_async`: `func` may return any awaitable."""

        @functools.wraps(func)
        def protected(*args: Any, **kwargs: Any) -> Any:
            return self.call_async(func, *args, **kwargs)

        return protected

    def _deferred(self, kind: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what runs `func` later, when somebody iterates or awaits it."""
        if kind is COROUTINE:
            return self.call_async(func, *args, **kwargs)
        return self._protected_stream(func, NO_RULES)(*args, **kwargs)

    def _guard_result(self, result: Any) -> Any:
        """Guard a generator or coroutine that came out of a call.

        Nobody knows whether it will ever run, so the call's permit is given back until then.
        """
        return self._awaited(result) if type(result) is CoroutineType else self._guarded_result(result)

    async def _awaited(self, coroutine: Any) -> Any:
        try:
            permit = await self._admitted_async()
        except BaseException:
            coroutine.close()  # or Python warns that nobody has awaited it
            raise
        try:
            result = await coroutine
        except BaseException as error:
            await self._failed_async(permit, error)
            raise
        await self._ended_async(permit, result)
        return result

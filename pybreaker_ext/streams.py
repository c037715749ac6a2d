"""Guarded generators: admitted at the first `next`, settled at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

P_contra = TypeVar("P_contra", contravariant=True)


class Reports(Protocol[P_contra]):
    """Where a guarded call's end is reported; the breaker is one."""

    def _succeeded(self, permit: P_contra) -> None: ...

    def _failed(self, permit: P_contra, error: BaseException) -> None: ...


def guarded(
    reports: Reports[P_contra], ask: Callable[[], P_contra], make: Callable[[], Generator[Any, Any, Any]]
) -> Generator[Any, Any, Any]:
    """Run the generator that `make` returns under a permit.

    Success is its own end; an error from it is a failure; a consumer that stops early is neutral.
    What is sent and thrown into it, and what it returns, passes through.
    """
    permit = ask()
    try:
        result = yield from make()
    except BaseException as error:
        reports._failed(permit, error)
        raise
    reports._succeeded(permit)
    return result

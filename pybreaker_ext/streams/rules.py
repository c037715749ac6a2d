"""What a user asks of a stream, beyond that it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext import settings

if TYPE_CHECKING:
    from collections.abc import Callable


class Rules(NamedTuple):
    """The arguments of `breaker.stream` that aren't the function's."""

    #: Seconds from the first `next` to the first chunk, the call itself included.
    first_chunk_timeout: float | None = None
    #: Seconds from asking for a further chunk until it comes.
    chunk_timeout: float | None = None
    #: Whether the last chunk is one that ends a whole answer.
    complete: Callable[[Any], Any] | None = None
    #: Whether a chunk says that the backend has failed.
    failure_chunk: Callable[[Any], Any] | None = None

    @property
    def timed(self) -> bool:
        """Whether somebody has to look at the clock."""
        return self.first_chunk_timeout is not None or self.chunk_timeout is not None


NO_RULES: Final = Rules()

#: What the keyword form of the decorator takes.
NAMES: Final = frozenset(Rules._fields)


def checked(
    first_chunk_timeout: Any = None, chunk_timeout: Any = None, complete: Any = None, failure_chunk: Any = None
) -> Rules:
    """Return the arguments as rules; raise when one is out of its range.

    Raises:
        TypeError: A time-out is no number, or a predicate can't be called.
        ValueError: A time-out isn't above 0 and finite.
    """
    return Rules(
        _timeout("first_chunk_timeout", first_chunk_timeout),
        _timeout("chunk_timeout", chunk_timeout),
        settings.function("complete", complete),
        settings.function("failure_chunk", failure_chunk),
    )


def _timeout(argument: str, value: Any) -> float | None:
    return None if value is None else settings.positive_seconds(argument, value)

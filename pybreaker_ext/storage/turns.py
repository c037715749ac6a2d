"""Servers of which any one can answer a question; asking them costs one time-out, however many are silent.

What is left of the time-outs while an attempt goes on is a number from 1 down to 0. Only waits in vain
take from it: a server that answers, however slowly, is no reason to give up.
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

Server = TypeVar("Server")
Answer = TypeVar("Answer")

#: The settings, in seconds, that an attempt must not outlast.
TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")

#: Silent servers that one attempt waits for; the next attempt begins with others.
MOST_ASKED: Final = 5

#: What the first silent server may take of the time-outs; the others share the rest.
HALF: Final = 0.5

#: What must be left of the time-outs before another server is asked.
LEAST: Final = 0.02

#: What a server raises that can't be asked: also names that are no hosts, which Python tells as a ValueError.
_FAILURES: Final = (RedisError, OSError, ValueError)


def part_of(settings: Mapping[str, Any], left: float) -> dict[str, Any]:
    """Return settings with that much of their time-outs; none stays none."""
    parts = {name: settings[name] * left for name in TIMEOUTS if settings.get(name) is not None}
    return {**settings, **parts}


def longest(settings: Mapping[str, Any]) -> float:
    """Return the seconds that an attempt may wait in vain."""
    return max(float(settings[name]) for name in TIMEOUTS)


class Turns(Generic[Server]):
    """Asks one server after the other until one answers.

    Args:
        servers: At least one.
        timeout: Seconds that all waits in vain may take together, of which each server has a part;
            None: each has the time-outs of its client.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self, servers: Sequence[Server], timeout: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._given = tuple(servers)
        self._timeout = timeout
        self._clock = clock
        #: Not the same first one from everywhere. Replaced whole, because threads use it at once.
        self._order = random.sample(self._given, len(self._given))

    def ask(self, question: Callable[[Server, float], Answer]) -> tuple[Answer, float]:
        """Return the first answer, and what is then left of the time-outs.

        The question is put to a server with the part of the time-outs that it may take.

        Raises:
            RedisError: No server answers; or OSError, ValueError: the last one can't be one.
        """
        left = 1.0
        failed: Exception = RedisConnectionError("no servers")
        for server in self._order:
            if left < LEAST:
                break
            began = self._clock()
            try:
                answer = question(server, self._part(left))
            except _FAILURES as error:
                failed = error
                left -= self._lost(server, began)
            else:
                self.put_first(server)
                return answer, left
        raise failed

    async def ask_async(self, question: Callable[[Server, float], Awaitable[Answer]]) -> tuple[Answer, float]:
        """Return the first answer, and what is then left of the time-outs.

        The question is put to a server with the part of the time-outs that it may take.

        Raises:
            RedisError: No server answers; or OSError, ValueError: the last one can't be one.
        """
        left = 1.0
        failed: Exception = RedisConnectionError("no servers")
        for server in self._order:
            if left < LEAST:
                break
            began = self._clock()
            try:
                answer = await question(server, self._part(left))
            except _FAILURES as error:
                failed = error
                left -= self._lost(server, began)
            else:
                self.put_first(server)
                return answer, left
        raise failed

    def put_first(self, server: Server) -> None:
        """Begin with this one next time."""
        self._order = [server, *(each for each in self._order if each != server)]

    def put_last(self, server: Server) -> None:
        """Ask all others before this one."""
        self._order = [*(each for each in self._order if each != server), server]

    def know(self, servers: Iterable[Server]) -> None:
        """Ask these, too, and no longer those that were known from elsewhere than the constructor."""
        found = dict.fromkeys([*self._given, *servers])
        kept = [each for each in self._order if each in found]
        self._order = list(dict.fromkeys([*kept, *found]))

    def _part(self, left: float) -> float:
        """Return what the next server may take of the time-outs: half, until that is spent, then shares of the rest.

        Half, because from afar an answer takes long. If all are silent, there is none left.
        """
        others = min(MOST_ASKED, len(self._order)) - 1
        if self._timeout is None or not others:
            return left
        return max(left - HALF, min(left, HALF / others))

    def _lost(self, server: Server, began: float) -> float:
        """Return what a server has taken of the time-outs: its part if it was silent, little if it refused."""
        self.put_last(server)
        return 0.0 if self._timeout is None else (self._clock() - began) / self._timeout


def check_answers(client: Any) -> None:
    """Raise what the client raises if its server doesn't answer; that it may not is an answer, too."""
    with contextlib.suppress(ResponseError):
        client.ping()


async def check_answers_async(client: Any) -> None:
    """Raise what the client raises if its server doesn't answer; that it may not is an answer, too."""
    with contextlib.suppress(ResponseError):
        await client.ping()

"""The ways to a store: half of the processes reach a server through a proxy that loses what it is given."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from proxy import proxy_to

from pybreaker_ext.storage.answer import found_in

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

#: Shares of questions and of answers that are lost or cut; and of answers that tell of a change of state,
#: which are few, and of which the fleet sees what nobody was told.
QUESTIONS: Final = 0.02
ANSWERS: Final = 0.02
CHANGES: Final = 0.5
#: The share of answers that are late, by up to three times a client's time-out.
LATE: Final = 0.05


@contextlib.contextmanager
def ways_to(url: str, patience: float, luck: random.Random) -> Iterator[tuple[str, str]]:
    """Yield the URLs of the good way to a store and of the bad one; to a file there is one way only.

    Args:
        url: The store's.
        patience: Seconds that a client waits for a server.
        luck: What gets through.
    """
    if url.startswith("sqlite:"):
        yield url, url
        return
    timeouts = f"?socket_timeout={patience}&socket_connect_timeout={patience}"
    port = int(url.rpartition(":")[2].partition("/")[0])
    with proxy_to(port) as proxy:
        proxy.sends = _spoilt(luck, lambda _: QUESTIONS)
        proxy.passes = _spoilt(luck, lambda answer: CHANGES if tells_of_a_change(answer) else ANSWERS)
        proxy.delay = lambda: luck.uniform(0, 3 * patience) if luck.random() < LATE else 0.0
        yield url + timeouts, url.replace(str(port), str(proxy.port), 1) + timeouts


def tells_of_a_change(answer: bytes) -> bool:
    """Tell whether an answer is one of ours, about a command that has changed the state."""
    try:
        found = found_in(answer.split(b"\r\n")[1].decode().split(" ", 3)[3])
    except (IndexError, ValueError):
        return False
    return found.after.generation != found.old_generation


def _spoilt(luck: random.Random, share: Callable[[bytes], float]) -> Callable[[bytes], bytes]:
    """Return what loses a share of what is sent, one half of it whole and of the other half the end."""

    def passed(data: bytes) -> bytes:
        if luck.random() >= share(data):
            return data
        return data[: luck.choice([0, len(data) // 2])]

    return passed

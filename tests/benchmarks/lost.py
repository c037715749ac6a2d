"""How many failures a fleet's store did not count.

`fail_counter` tells it only when nothing but failures is reported: a success sets it to zero. With
successes in between, the server itself is asked: MONITOR shows, in the order in which they took
effect, all commands and those that scripts give. Each failure must have raised the counter by
exactly one over its last value; a write that repeats a value has lost an update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis

END: Final = "all-workers-are-done"


def raised(commands: Iterable[str], key: str) -> int:
    """Return how often the commands raise the number that is stored at `key` by one.

    Args:
        commands: As MONITOR writes them, without their quotes.
        key: Of a number that is 0 before.
    """
    number = count = 0
    for command in commands:
        words = command.split(" ")
        name = words[0].upper()
        if name in ("INCR", "INCRBY") and words[1] == key and words[2:] in ([], ["1"]):
            number, count = number + 1, count + 1
        elif name in ("SET", "MSET") and key in words[1::2]:
            written = int(words[words.index(key, 1) + 1])
            count += written == number + 1
            number = written
        elif name in ("DEL", "UNLINK") and key in words:
            number = 0
    return count


def traced(client: redis.Redis, run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return what `run` returns, and all commands that the server was given meanwhile."""
    make: Any = client.monitor  # has no types
    with make() as monitor:
        result = run()
        client.echo(END)
        commands: list[str] = []
        while True:
            command = str(monitor.next_command()["command"])
            if END in command:
                return result, commands
            commands.append(command)

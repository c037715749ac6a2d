"""The Lua program that applies one event, and how a server is told to run it."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Microseconds on the server's clock, for keys.lua. Tests give the time instead.
PRELUDE: Final = "local clock = redis.call('TIME')\nlocal now = clock[1] * 1000000 + clock[2]\n"

#: A line `local A, B = 'a', 2`.
_CONSTANTS: Final = re.compile(r"^local (?P<names>[A-Z_, ]+) =\s+(?P<values>[a-z0-9', -]+)$", re.MULTILINE)


@functools.cache
def script(prelude: str = PRELUDE) -> str:
    """Return the program."""
    here = resources.files("pybreaker_ext.storage")
    source = "\n".join([prelude, *(here.joinpath(name).read_text("utf-8") for name in ("machine.lua", "keys.lua"))])
    return _with_literals(source)


def _with_literals(source: str) -> str:
    """Return Lua with the values of its constants in place of their names.

    Lua 5.1 has no constants, only variables that every function which names them has to find again
    at each start of the program; that is a tenth of its time.
    """
    constants: dict[str, str] = {}

    def take(line: re.Match[str]) -> str:
        names, values = (text.replace(" ", "").split(",") for text in line.group("names", "values"))
        constants.update(zip(names, values, strict=True))
        return ""

    source = _CONSTANTS.sub(take, source)
    return re.sub(r"\b[A-Z_]+\b", lambda name: constants.get(name[0], name[0]), source)


@functools.cache
def digest(program: str) -> bytes:
    """Return the name by which the server knows a program, as bytes, which redis-py need not encode each time."""
    return hashlib.sha1(program.encode(), usedforsecurity=False).hexdigest().encode()


def evaluate(client: Any, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
    """Run a program, in one round trip once the server knows it."""
    try:
        return client.execute_command("EVALSHA", digest(program), len(keys), *keys, *arguments)
    except NoScriptError:
        return client.execute_command("EVAL", program, len(keys), *keys, *arguments)


async def evaluate_async(client: Any, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
    """Run a program, in one round trip once the server knows it."""
    try:
        return await client.execute_command("EVALSHA", digest(program), len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", program, len(keys), *keys, *arguments)

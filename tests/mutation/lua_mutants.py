"""The Lua machine's mutants: each comparison, operator, word and constant, one at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mutation.mutants import Mutant, mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What may be wrong about a token. Longer ones stand first, because they begin like shorter ones.
FAULTS: Final = {
    "<=": ("<", ">=", "=="),
    ">=": (">", "<=", "=="),
    "==": ("~=",),
    "~=": ("==",),
    "<": ("<=", ">"),
    ">": (">=", "<"),
    "+": ("-",),
    "-": ("+",),
    "*": ("+", "/"),
    "/": ("*",),
    "^": ("*",),
    "and": ("or",),
    "or": ("and",),
    "not": ("not not",),
    "true": ("false",),
    "false": ("true",),
    "nil": ("false",),
    "math.min": ("math.max",),
    "math.max": ("math.min",),
    "math.ceil": ("math.floor",),
    "math.floor": ("math.ceil",),
    "ADMITTED": ("REJECTED",),
    "REJECTED": ("ADMITTED",),
    "COUNTED": ("DROPPED",),
    "DROPPED": ("COUNTED",),
    "DONE": ("SEEN",),
    "SEEN": ("DONE",),
    "CLOSED": ("OPEN", "HALF_OPEN"),
    "OPEN": ("CLOSED", "HALF_OPEN"),
    "HALF_OPEN": ("CLOSED", "OPEN"),
    "FAILURES": ("HOLD",),
    "HOLD": ("MANUAL",),
    "MANUAL": ("''",),
    "FOREVER": ("(FOREVER - 1)", "0"),
}

_TOKEN: Final = re.compile(
    r"--[^\n]*|'[^']*'|[0-9]+|math\.\w+|[A-Za-z_]\w*|" + "|".join(re.escape(t) for t in FAULTS if not t[0].isalpha())
)
#: The right sides of constants may be wrong; their left sides only name them.
_CONSTANTS: Final = re.compile(r"^local [A-Z_, ]+ =", re.MULTILINE)


def lua_mutants(file: str, source: str) -> Iterator[Mutant]:
    """Yield the mutants of a Lua file."""
    names = [found.span() for found in _CONSTANTS.finditer(source)]
    for token in _TOKEN.finditer(source):
        begin, end = token.span()
        if any(first <= begin < last for first, last in names):
            continue
        for fault in _faults(token[0]):
            yield mutant(file, source, source[:begin] + fault + source[end:])


def _faults(token: str) -> tuple[str, ...]:
    if token.isdecimal():
        return (f"{int(token) + 1}", f"{int(token) - 1}")
    if token.startswith("'"):
        return (f"'{token[1:-1]}x'",)
    return FAULTS.get(token, ())

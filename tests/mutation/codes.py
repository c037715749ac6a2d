"""A module's mutant by the code of its functions, which are replaced where they are."""

from __future__ import annotations

import sys
import warnings
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from mutation.forks import PACKAGE, module_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mutation.mutants import Mutant


def put_in_place(mutant: Mutant) -> Callable[[], bool] | None:
    """Replace the code of functions; return what tells that this was done, or None when that isn't all."""
    path = PACKAGE / mutant.file
    was, is_now = _compiled(path.read_text("utf-8"), str(path)), _compiled(mutant.source, str(path))
    pairs = _different(was, is_now)
    if not pairs:
        return None
    module = sys.modules[module_name(mutant.file)]
    functions = [_found(module, new.co_qualname) for _, new in pairs]
    for function, (old, new) in zip(functions, pairs, strict=True):
        if function is None or function.__code__ != old:
            return None
        function.__code__ = new
    return lambda: all(f is not None and f.__code__ is new for f, (_, new) in zip(functions, pairs, strict=True))


def _compiled(source: str, path: str) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(source, path, "exec", dont_inherit=True)


def _different(was: CodeType, is_now: CodeType) -> list[tuple[CodeType, CodeType]]:
    """Return the functions that differ, old and new; nothing when something else differs, too."""
    found: list[tuple[CodeType, CodeType]] = []
    if _own(was) != _own(is_now):
        return []
    for old, new in zip(_inner(was), _inner(is_now), strict=True):
        if old.co_flags & 2 and new.co_flags & 2:  # CO_NEWLOCALS: a function, and no class
            found += [(old, new)] if old != new else []
        elif old != new:
            inside = _different(old, new)
            if not inside and (_own(old) != _own(new) or _meaning(old) != _meaning(new)):
                return []
            found += inside
    return found


def _own(code: CodeType) -> Any:
    """Return what a module or a class does by itself, wherever it stands."""
    values = tuple((type(value), value) for value in code.co_consts if not isinstance(value, CodeType))
    lines = {code.co_firstlineno}
    return code.co_code, code.co_names, tuple(v for v in values if v[1] not in lines), len(list(_inner(code)))


def _meaning(code: CodeType) -> Any:
    return _own(code), [_meaning(inner) for inner in _inner(code)]


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (value for value in code.co_consts if isinstance(value, CodeType))


def _found(module: Any, name: str) -> FunctionType | None:
    """Return a function of a module or of its classes."""
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part)
        if found is None:
            return None
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    return found if isinstance(found, FunctionType) else None

"""Settings as data: checked as a whole, so that one error tells all that is wrong.

What is allowed is said in `settings`, where the breaker's own arguments are checked. Here stands
only which setting is what.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pybreaker_ext import settings
from pybreaker_ext.config_file import read
from pybreaker_ext.durations import in_seconds
from pybreaker_ext.names import check_name
from pybreaker_ext.policies import POLICIES
from pybreaker_ext.settings import Backoff
from pybreaker_ext.storage.classic import check_state
from pybreaker_ext.storage.history import check_limit
from pybreaker_ext.storage.urls import from_url
from pybreaker_ext.tables import Tables

try:
    from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, WrapValidator
    from pydantic_core import PydanticCustomError
    from typing_extensions import TypedDict
except ImportError as error:
    message = 'settings from data need pydantic, which comes with: pip install "pybreaker-ext[settings]"'
    raise ImportError(message) from error

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping

    from pydantic_core import ErrorDetails

    Check = Callable[[str, Any], Any]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def tables_of_file(path: str | os.PathLike[str]) -> Tables:
    """Return what a settings file says.

    Raises:
        ImportError: It is a YAML file, and PyYAML isn't installed.
        OSError: It can't be read.
        ValueError: Its name has none of the known endings, or something in it is wrong.
    """
    return tables_of(read(path), str(path))


def tables_of(mapping: Mapping[str, Any], source: str = "the mapping") -> Tables:
    """Return what a mapping of the form of a settings file says.

    Raises:
        ValueError: Something in it is wrong; the message has a line for each fault.
    """
    try:
        found: dict[str, Any] = {**_FILE.validate_python(mapping)}
    except ValidationError as error:
        faults = [_line(fault) for fault in error.errors(include_url=False)]
        heading = f"{source} has {len(faults)} error{'s' if len(faults) > 1 else ''}:"
        raise ValueError("\n  ".join([heading, *faults])) from None
    url, default, breakers = found.pop("url", None), found.pop("default", {}), found.pop("breakers", {})
    breakers = {name: _expanded(table) for name, table in breakers.items()}
    return Tables(url, registry=found, default=_expanded(default), breakers=breakers)


def _expanded(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a breaker's table with what its policy stands for; its other keys beat the policy."""
    others = dict(table)
    policy = others.pop("policy", None)
    return others if policy is None else POLICIES[policy](**others)


def _by(check: Check, fault: str = "value") -> PlainValidator:
    """Have pydantic ask one of our own checks, whose errors begin with the argument's name."""

    def validate(value: Any) -> Any:
        try:
            return check("", value)
        except (TypeError, ValueError) as error:
            said = re.sub(r"^\w* (?=must )", "", str(error))
            raise PydanticCustomError(fault, "{said}", {"said": said}) from None

    return PlainValidator(validate)


def _time(check: Check) -> Check:
    def checked(argument: str, value: Any) -> Any:
        seconds = in_seconds(value)
        if isinstance(seconds, str):
            message = f'{argument} must be a number of seconds, or a text such as "30s" or "1m30s", not {value!r}'
            raise TypeError(message)
        return check(argument, seconds)

    return checked


def _or_none(check: Check) -> Check:
    return lambda argument, value: None if value is None else check(argument, value)


def _of_backoff(argument: str) -> Check:
    return lambda _, value: getattr(Backoff(**{argument: value}), argument)


def _true_or_false(argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        message = f"{argument} must be true or false, not {value!r}"
        raise TypeError(message)
    return value


def _policy(argument: str, value: Any) -> str:
    allowed = " or ".join(map(repr, POLICIES))
    if not isinstance(value, str):
        message = f"{argument} must be {allowed}, not {value!r}"
        raise TypeError(message)
    if value not in POLICIES:
        message = f"{argument} must be {allowed}, not {value!r}"
        raise ValueError(message)
    return value


def _url(argument: str, value: Any) -> str:
    if not isinstance(value, str):  # and isn't shown, because it may hold a password
        message = f"{argument} must be a text, not {type(value).__name__}"
        raise TypeError(message)
    from_url(value, "any")
    return value


def _name(_: str, value: Any) -> str:
    return check_name(value)


def _backoff(value: Any, table: Callable[[Any], dict[str, Any]]) -> Backoff | None:
    return None if value is None or value is False else Backoff(**table(value))


_Whole = Annotated[int, _by(settings.whole_number)]
_Seconds = Annotated[float, _by(_time(settings.seconds))]
_PositiveSeconds = Annotated[float, _by(_time(settings.positive_seconds))]
_STRICT: Final = ConfigDict(extra="forbid")


class _BackoffTable(TypedDict, total=False):
    __pydantic_config__ = _STRICT  # type: ignore[misc]

    multiplier: Annotated[float, _by(_of_backoff("multiplier"))]
    maximum: Annotated[float, _by(_time(_of_backoff("maximum")))]
    jitter: Annotated[float, _by(_of_backoff("jitter"))]


class _BreakerTable(TypedDict, total=False):
    __pydantic_config__ = _STRICT  # type: ignore[misc]

    policy: Annotated[str, _by(_policy)]
    fail_max: _Whole
    reset_timeout: _Seconds
    success_threshold: _Whole
    throw_new_error_on_trip: Annotated[bool, _by(_true_or_false)]
    half_open_max_calls: _Whole
    probe_timeout: _PositiveSeconds
    backoff: Annotated[_BackoffTable, WrapValidator(_backoff)]
    max_staleness: _Seconds
    max_hold: _PositiveSeconds


class _File(TypedDict, total=False):
    __pydantic_config__ = _STRICT  # type: ignore[misc]

    url: Annotated[str | None, _by(_or_none(_url))]
    max_breakers: _Whole
    key_ttl: Annotated[float | None, _by(_or_none(_time(settings.positive_seconds)))]
    fallback_circuit_state: Annotated[str, _by(check_state)]
    history: Annotated[int, _by(lambda _, value: check_limit(value))]
    default: _BreakerTable
    breakers: dict[Annotated[str, _by(_name, fault="name")], _BreakerTable]


_FILE: Final = TypeAdapter(_File)

#: Of a settings file, and of each of its tables of breakers.
KEYS: Final = tuple(_File.__annotations__)
SETTINGS: Final = tuple(key for key in _BreakerTable.__annotations__ if key != "policy")


def _line(fault: ErrorDetails) -> str:
    """Return a fault as the path of the key and what is wrong there."""
    path, kind, said = fault["loc"], fault["type"], fault["msg"]
    if kind == "name":
        path = path[:-1]  # without pydantic's "[key]"
    elif kind in ("extra_forbidden", "invalid_key"):
        said = _unknown(str(path[-1]), _known(path))
        if path[0] == "breakers" and isinstance(fault["input"], dict):
            said += " (a name with dots needs quotes)"
    elif kind == "string_unicode":
        said = f"must have keys that UTF-8 can encode, not {fault['input']!r}"
    elif kind == "dict_type":
        said = f"must be a table, not {type(fault['input']).__name__}"
    keys = (str(key) if _BARE_KEY.fullmatch(str(key)) else json.dumps(str(key), ensure_ascii=False) for key in path)
    return ": ".join(filter(None, [".".join(keys), said]))


def _known(path: tuple[int | str, ...]) -> Collection[str]:
    """Return the keys of the table that `path` leads into."""
    depth = len(path) - (path[0] == "breakers")
    return (_File, _BreakerTable, _BackoffTable)[depth - 1].__annotations__


def _unknown(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return "is no setting; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")

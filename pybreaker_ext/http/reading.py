"""What an error or a response carries: a status, headers, and the error that it comes from.

Nothing here knows a client. Whatever the object does when it is looked at, nothing raises.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.http.classes import is_clients, root_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Errors that are looked at on the way from one to what it comes from.
MAX_LINKS: Final = 10
#: Ways that are followed through groups of errors.
MAX_PATHS: Final = 100
#: Headers that are looked at in a response.
MAX_HEADERS: Final = 1_000

_LOWEST_STATUS: Final = 100
_HIGHEST_STATUS: Final = 599
#: Whose errors have their status in `code`, which elsewhere may be anything.
_STATUS_IS_CODE: Final = frozenset({"google", "tornado", "urllib"})
_AWS: Final = "ResponseMetadata"


def read(carrier: object, name: str) -> Any:
    """Return an attribute, or None, also when looking at it raises."""
    try:
        return getattr(carrier, name, None)
    except Exception:  # noqa: BLE001  a property may raise anything
        return None


def paths(carrier: object) -> Iterator[Sequence[Any]]:
    """Yield the ways from an error to what it comes from, the nearest first; of a response only itself.

    There is one way, but one for each of its errors through an exception group. What goes in a circle
    is followed for as long as the rest.
    """
    return islice(_paths(carrier, ()), MAX_PATHS)


def status(link: object) -> int | None:
    """Return the HTTP status that one error or response carries."""
    names = ["status_code", "status"]
    if is_error(link):
        if root_of(type(link)) in _STATUS_IS_CODE:
            names.append("code")
    elif read(link, "headers") is None:  # an order's status is none of HTTP's
        names = []
    for name in names:
        found = _as_status(read(link, name))
        if found is not None:
            return found
    response = _response(link)
    if response is None:
        return _as_status(_item(_item(link, _AWS), "HTTPStatusCode"))
    return status(response)


def headers(link: object) -> Iterator[tuple[str, str]]:
    """Yield names, in small letters, and values of the headers that one error or response carries."""
    response = _response(link)
    if response is None:
        yield from _pairs(_item(_item(link, _AWS), "HTTPHeaders"))
    else:
        yield from headers(response)
    yield from _pairs(read(link, "headers"))
    yield from _pairs(read(link, "litellm_response_headers"))


def aws_code(link: object) -> Any:
    """Return what botocore calls an error."""
    return _item(_item(read(link, "response"), "Error"), "Code")


def is_error(link: object) -> bool:
    """Tell whether it is an exception, whatever it says about its class."""
    return issubclass(type(link), BaseException)


def _paths(link: Any, behind: tuple[Any, ...]) -> Iterator[Sequence[Any]]:
    path = (*behind, link)
    further = [] if len(path) == MAX_LINKS else _origins(link)
    if not further:
        yield path
    for found in further:
        yield from _paths(found, path)


def _origins(link: object) -> list[Any]:
    """Return the errors that a group is made of, or else the error that another one comes from.

    What was merely being handled when an error of somebody else's was raised may be about another
    backend; clients' own errors leave out the `from`.
    """
    if not is_error(link):
        return []
    if issubclass(type(link), BaseExceptionGroup):
        return list(islice(read(link, "exceptions"), MAX_PATHS))
    names = ["reason", "__cause__"]  # urllib3 and urllib have a reason, which may be an error
    if is_clients(type(link)) and not read(link, "__suppress_context__"):
        names.append("__context__")
    return [found for found in (read(link, name) for name in names) if is_error(found)][:1]


def _response(link: object) -> Any:
    """Return the response that an error carries."""
    if not is_error(link):
        return None
    found = read(link, "response")
    return read(link, "raw_response") if found is None else found


def _as_status(value: Any) -> int | None:
    if not issubclass(type(value), int) or type(value) is bool:
        return None
    return int(value) if _LOWEST_STATUS <= value <= _HIGHEST_STATUS else None


def _item(mapping: Any, key: str) -> Any:
    return mapping.get(key) if type(mapping) is dict else None


def _pairs(found: Any) -> Iterator[tuple[str, str]]:
    """Yield what a mapping or a list of pairs has."""
    if found is None:
        return
    try:
        items = getattr(found, "items", None)
        for name, value in islice(found if items is None else items(), MAX_HEADERS):
            yield _text(name).lower(), _text(value)
    except Exception:  # noqa: BLE001  it is no headers
        return


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""

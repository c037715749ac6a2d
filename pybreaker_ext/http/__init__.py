"""What an HTTP or a provider's error means for a circuit. Needs none of the clients that it knows.

Every function takes an exception or a response, and returns an answer whatever it is given. Of an
exception, what it carries itself counts first, then its `__cause__` and so on, ten steps at most.
Of an exception group each of its errors is judged, a hundred at most, and the gravest counts:
a failure before a 429 that says when to come back, then what is neither, then mistakes.

It reads what httpx, requests, aiohttp, urllib3, urllib, openai, anthropic, google-genai, mistralai,
cohere, botocore and litellm raise or return, and what is made like it.
"""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext.http.classes import FAILURE, MISTAKE, kind_of, root_of
from pybreaker_ext.http.reading import aws_code, headers, is_error, paths, read, status
from pybreaker_ext.http.waiting import wait_of
from pybreaker_ext.http.words import tells_refusal, told_status

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("failed_response", "is_client_error", "is_provider_failure", "retry_after", "status_of", "throttled_for")

#: What a 429 is that says when to come back, beside `FAILURE` and `MISTAKE`.
_THROTTLE: Final = "throttle"

_FIRST_ERROR: Final = 400
_FIRST_OF_SERVER: Final = 500
#: 4xx that say nothing against the request.
_SERVERS_FAULT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
#: Errors of AWS that mean 429, and come with 400 or 503 from some of its services.
_THROTTLED: Final = frozenset(
    {
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
#: Who gives a status to errors that have none.
_MAKES_UP_STATUS: Final = "litellm"
_UNREACHABLE: Final = frozenset({errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH})


def status_of(exc: object) -> int | None:
    """Return the HTTP status, 100 to 599, that an exception or a response carries; None: none."""
    return _sight(exc).status


def retry_after(exc: object) -> float | None:
    """Return the seconds, 0 to 86,400, for which the server asked to be left alone; None: it didn't.

    Reads `Retry-After` (RFC 9110), in seconds or as a date, and `retry-after-ms`; of all that is
    there, the longest. A date counts from the response's own `Date`, or else from the local clock.
    What is negative, past or garbage is none. Only asked of 408, 429 and 5xx: whatever else a
    response says about later, it says to its own caller.

    As `hold_for`, it makes a hold of every 5xx that says when to come back, and a hold is no
    failure: a backend that always says it never trips and never backs off. `throttled_for` is for
    who wants those to count.
    """
    return _sight(exc).wait


def throttled_for(exc: object) -> float | None:
    """Return the seconds that a 429 asks for, and no 408 or 5xx; None: it is none, or doesn't.

    For `hold_for` and `hold_result`. Errors of AWS that mean 429 count as such. See `retry_after`
    for what is read.
    """
    return _sight(exc).hold


def is_client_error(exc: object) -> bool:
    """Tell whether it was the caller's mistake, which says nothing about the backend. For `ignore`.

    That is 4xx but for 408 and 429, requests that a client refused to send, such as to an invalid
    URL or without a key, and an answer that the provider's own filter or length limit cut.
    """
    return _sight(exc).verdict == MISTAKE


def is_provider_failure(exc: object) -> bool:
    """Tell whether it was the backend's failure. For `include`.

    That is 408, 5xx, 429 that doesn't say when to come back, connections that failed, broke, timed
    out or spoke no HTTP, and answers that are no JSON although they should be. A 429 that does say
    when is a hold; see `throttled_for`.
    """
    return _sight(exc).verdict == FAILURE


def failed_response(response: object) -> bool:
    """Tell whether a response that was returned, not raised, is a failure. For `failure_result`.

    A 429 that says when to come back is one, too, for who doesn't hold: `hold_result` is asked
    first. What is no HTTP response is none.
    """
    sight = _sight(response)
    return not is_error(response) and sight.verdict in (FAILURE, _THROTTLE)


class _Sight(NamedTuple):
    status: int | None = None
    #: Seconds that the server asked for, and those of them that are a hold.
    wait: float | None = None
    hold: float | None = None
    verdict: str | None = None


_NOTHING: Final = _Sight()
#: The gravest first.
_GRAVITY: Final = (FAILURE, _THROTTLE, None, MISTAKE)


def _sight(carrier: object) -> _Sight:
    try:
        return _gravest([_look(path) for path in paths(carrier)])
    except Exception:  # noqa: BLE001  an object that can't even be looked at says nothing
        return _NOTHING


def _gravest(sights: list[_Sight]) -> _Sight:
    """Return what a group's errors say together: the gravest verdict, and the longest waits."""
    gravest = min(sights, key=lambda sight: _GRAVITY.index(sight.verdict))
    waits = (sight.wait for sight in sights if sight.wait is not None)
    holds = (sight.hold for sight in sights if sight.hold is not None)
    return gravest._replace(wait=max(waits, default=None), hold=max(holds, default=None))


def _look(path: Sequence[Any]) -> _Sight:
    """Return what the nearest error or response that says anything says."""
    said = _NOTHING
    for place, link in enumerate(path):
        found, kind = _status(link), _kind(link)
        if found is not None and found >= _FIRST_ERROR:
            made_up = _makes_up_status(link) and _was_refused(path[place + 1 :])
            return _Sight(found, verdict=MISTAKE) if made_up else _by_status(found, path[place:])
        if kind is not None:
            refused = _was_refused(path[place + 1 :])
            return _Sight(found, verdict=MISTAKE if refused else kind)
        if found is not None and said is _NOTHING:  # no error's status: some other number may be called so
            said = _Sight(found)
            if not is_error(link):
                break
    return said


def _by_status(found: int, path: Sequence[Any]) -> _Sight:
    throttled = found == HTTPStatus.TOO_MANY_REQUESTS or aws_code(path[0]) in _THROTTLED
    if found < _FIRST_OF_SERVER and found not in _SERVERS_FAULT and not throttled:
        return _Sight(found, verdict=MISTAKE)
    waits = (wait_of(headers(link)) for link in path if status(link) == found)
    wait = next((wait for wait in waits if wait is not None), None)
    if wait and throttled:
        return _Sight(found, wait, wait, _THROTTLE)
    return _Sight(found, wait, verdict=FAILURE)


def _status(link: Any) -> int | None:
    found = status(link)
    if found is None:
        return told_status(link)
    return None if _is_garbled(link) else found


def _kind(link: Any) -> str | None:
    if not is_error(link):
        return None
    cls: Any = type(link)
    if issubclass(cls, OSError) and read(link, "errno") in _UNREACHABLE:
        return FAILURE
    return MISTAKE if tells_refusal(link) else kind_of(cls)


def _was_refused(path: Sequence[Any]) -> bool:
    """Tell whether an error comes from a request that was refused, before one that had an answer."""
    for link in path:
        if _kind(link) == MISTAKE:
            return True
        if _status(link) is not None and not _makes_up_status(link):
            break
    return False


def _makes_up_status(link: Any) -> bool:
    return root_of(type(link)) == _MAKES_UP_STATUS


def _is_garbled(link: Any) -> bool:
    """Tell whether it is aiohttp's error for what is no HTTP, whose status 400 nobody sent."""
    cause = read(link, "__cause__")
    return is_error(cause) and any(base.__name__ == "HttpProcessingError" for base in type(cause).__mro__)

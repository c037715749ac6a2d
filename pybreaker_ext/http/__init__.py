"""What an HTTP or a provider's error means for a circuit. Needs none of the clients that it knows.

Every function takes an exception or a response, and returns an answer whatever it is given. Of an
exception, what it carries itself counts first, then its `__cause__` and so on, ten steps at most.

It reads what httpx, requests, aiohttp, urllib3, urllib, openai, anthropic, google-genai, mistralai,
cohere, botocore and litellm raise or return, and what is made like it.
"""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pybreaker_ext.http.classes import FAILURE, MISTAKE, kind_of
from pybreaker_ext.http.reading import aws_code, headers, is_error, links, read, status
from pybreaker_ext.http.waiting import wait_of

__all__ = ("failed_response", "is_client_error", "is_provider_failure", "retry_after", "status_of")

_FIRST_ERROR: Final = 400
_FIRST_OF_SERVER: Final = 500
#: 4xx that say nothing against the request.
_SERVERS_FAULT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
#: Errors of AWS that mean 429, and come with 400 from some of its services.
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
_UNREACHABLE: Final = frozenset({errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH})


def status_of(exc: object) -> int | None:
    """Return the HTTP status, 100 to 599, that an exception or a response carries; None: none."""
    return _sight(exc).status


def retry_after(exc: object) -> float | None:
    """Return the seconds, 0 to 86,400, for which the server asked to be left alone; None: it didn't.

    For `hold_for` and `hold_result`. Reads `Retry-After` (RFC 9110), in seconds or as a date, and
    `retry-after-ms`; of both, the longer. A date counts from the response's own `Date`, or else
    from the local clock. What is negative, past or garbage is none. Only asked of 408, 429 and
    5xx: whatever else a response says about later, it says to its own caller.
    """
    return _sight(exc).wait


def is_client_error(exc: object) -> bool:
    """Tell whether it was the caller's mistake, which says nothing about the backend. For `ignore`.

    That is 4xx but for 408 and 429, requests that a client refused to send, such as to an invalid
    URL, and an answer that the provider's own filter or length limit cut.
    """
    return _sight(exc).verdict == MISTAKE


def is_provider_failure(exc: object) -> bool:
    """Tell whether it was the backend's failure. For `include`.

    That is 408, 5xx, 429 that doesn't say when to come back, and connections that failed, broke,
    timed out or spoke no HTTP. A 429 that does say it is a hold; see `retry_after`.
    """
    return _sight(exc).verdict == FAILURE


def failed_response(response: object) -> bool:
    """Tell whether a response that was returned, not raised, is a failure. For `failure_result`.

    A 429 that says when to come back is one, too, for who doesn't hold: `hold_result` is asked
    first. What is no HTTP response is none.
    """
    sight = _sight(response)
    return not is_error(response) and (sight.verdict == FAILURE or bool(sight.wait))


class _Sight(NamedTuple):
    status: int | None = None
    wait: float | None = None
    verdict: str | None = None


_NOTHING: Final = _Sight()


def _sight(carrier: object) -> _Sight:
    try:
        return _look(list(links(carrier)))
    except Exception:  # noqa: BLE001  an object that can't even be looked at says nothing
        return _NOTHING


def _look(chain: list[Any]) -> _Sight:
    """Return what the nearest error or response that says anything says."""
    said = _NOTHING
    for place, link in enumerate(chain):
        found = None if _is_garbled(link) else status(link)
        kind = _kind(link)
        if found is not None and found >= _FIRST_ERROR:
            return _by_status(found, chain[place:])
        if kind is not None:
            return _Sight(found, verdict=kind)
        if found is not None and said is _NOTHING:  # no error's status: some other number may be called so
            said = _Sight(found)
            if not is_error(link):
                break
    return said


def _by_status(found: int, chain: list[Any]) -> _Sight:
    throttled = found < _FIRST_OF_SERVER and aws_code(chain[0]) in _THROTTLED
    if found < _FIRST_OF_SERVER and found not in _SERVERS_FAULT and not throttled:
        return _Sight(found, verdict=MISTAKE)
    waits = (wait_of(headers(link)) for link in chain if status(link) == found)
    wait = next((wait for wait in waits if wait is not None), None)
    held = wait and (throttled or found == HTTPStatus.TOO_MANY_REQUESTS)
    return _Sight(found, wait, None if held else FAILURE)


def _kind(link: Any) -> str | None:
    if not is_error(link):
        return None
    cls: Any = type(link)
    if issubclass(cls, OSError) and read(link, "errno") in _UNREACHABLE:
        return FAILURE
    return kind_of(cls)


def _is_garbled(link: Any) -> bool:
    """Tell whether it is aiohttp's error for what is no HTTP, whose status 400 nobody sent."""
    cause = read(link, "__cause__")
    return is_error(cause) and any(base.__name__ == "HttpProcessingError" for base in type(cause).__mro__)

"""Settings that a newcomer can name: `CircuitBreaker(**policies.llm())`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.http import failed_response, is_client_error, throttled_for
from pybreaker_ext.settings import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def http(**overrides: Any) -> dict[str, Any]:
    """Return settings for a backend that is called by HTTP.

    The caller's mistakes (400, 404, ...) count nowhere. A 429 that says when to come back holds the
    circuit open until then, also when it is returned and not raised. A 5xx is a failure, raised or
    returned, whatever it says about later. Each further trip keeps the circuit open for longer, up
    to ten minutes.

    Args:
        overrides: Settings of `CircuitBreaker` that replace these, or come on top.
    """
    return {
        "ignore": [is_client_error],
        "hold_for": throttled_for,
        "hold_result": throttled_for,
        "failure_result": failed_response,
        "backoff": Backoff(2.0, maximum=600.0, jitter=0.1),
        **overrides,
    }


def llm(**overrides: Any) -> dict[str, Any]:
    """Return settings for a provider of language models: those of `http`, and probes may take ten minutes.

    Ten minutes are what the clients of OpenAI and Anthropic wait for an answer by default.

    Args:
        overrides: Settings of `CircuitBreaker` that replace these, or come on top.
    """
    return http(**{"probe_timeout": 600.0, **overrides})


#: By the names that settings files know them by.
POLICIES: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {"http": http, "llm": llm}

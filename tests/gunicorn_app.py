"""What `test_gunicorn.py` serves: calls through a breaker that is made, and used, when this is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pybreaker_ext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Each call of the backend is a line in this file.
CALLS = Path(os.environ["BACKEND_CALLS"])

breaker = pybreaker_ext.get_circuit_breaker(os.environ["CIRCUIT_URL"], name="backend", fail_max=5, reset_timeout=60)
breaker.call(int)  # with --preload there are connections before the fork
assert breaker.snapshot().shared, "the store is away"


def backend(answer: str) -> None:
    with CALLS.open("a") as calls:
        calls.write(f"{os.getpid()} {answer}\n")
    if answer == "failure":
        raise ConnectionError("the backend is down")


def ask_backend(answer: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        breaker.call(backend, answer)
    except pybreaker_ext.CircuitBreakerError as error:
        return "503 Service Unavailable", [("Retry-After", f"{error.retry_after:.3f}")]
    except ConnectionError:
        return "502 Bad Gateway", []
    return "200 OK", []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with this worker's process id; call the backend if this is the worker that the query wants."""
    query = parse_qs(environ["QUERY_STRING"])
    status, headers = "421 Misdirected Request", []
    if query.get("worker") == [str(os.getpid())]:
        status, headers = ask_backend(query["answer"][0])
    body = f"{os.getpid()} {os.getppid()}".encode()
    start_response(status, [*headers, ("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]

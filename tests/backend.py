"""A backend on loopback that answers as it is told by the first part of a URL's path."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the backend's clock shows: it is years behind.
DATE = "Date: Tue, 20 Nov 2001 10:00:00 GMT"
IN_TWO_SECONDS = "Tue, 20 Nov 2001 10:00:02 GMT"
IN_SEVEN_SECONDS = "Tue, 20 Nov 2001 10:00:07 GMT"


class Case(NamedTuple):
    """One way to answer."""

    #: The first part of the path.
    path: str
    #: In words, for the documentation.
    told: str
    #: What a breaker makes of it.
    judged: str
    status: int = 0
    headers: tuple[str, ...] = ()


SUCCESS, FAILURE, CALLERS = "success", "failure", "the caller's mistake"
HELD = (
    Case("429-seconds", "429, `Retry-After: 7`", "hold, 7 s", 429, ("Retry-After: 7",)),
    Case("429-date", "429, a date 7 s after its `Date`", "hold, 7 s", 429, (DATE, f"retry-after: {IN_SEVEN_SECONDS}")),
    Case("429-ms", "429, `retry-after-ms: 2500`", "hold, 2.5 s", 429, ("retry-after-ms: 2500",)),
    Case("429-both", "429, both, 7 s and 2,500 ms", "hold, 7 s", 429, ("Retry-After: 7", "retry-after-ms: 2500")),
    Case("429-long", "429, `Retry-After: 100000000`", "hold, 600 s", 429, ("Retry-After: 100000000",)),
    Case("429-twice", "429, two `Retry-After`, 7 and 2", "hold, 7 s", 429, ("Retry-After: 7", "Retry-After: 2")),
    Case(
        "429-dates",
        "429, two dates, 7 s and 2 s after its `Date`",
        "hold, 7 s",
        429,
        (DATE, f"Retry-After: {IN_SEVEN_SECONDS}", f"Retry-After: {IN_TWO_SECONDS}"),
    ),
    Case(
        "429-mixed",
        "429, three, `soon`, a date and 2",
        "hold, 7 s",
        429,
        (DATE, "Retry-After: soon", f"Retry-After: {IN_SEVEN_SECONDS}", "Retry-After: 2"),
    ),
)
UNHELD = (
    Case("429", "429", FAILURE, 429),
    Case("429-garbage", "429, `Retry-After: soon`", FAILURE, 429, ("Retry-After: soon",)),
    Case("429-negative", "429, `Retry-After: -7`", FAILURE, 429, ("Retry-After: -7",)),
    Case("400-seconds", "400, `Retry-After: 7`", CALLERS, 400, ("Retry-After: 7",)),
    Case("503-seconds", "503, `Retry-After: 7`", FAILURE, 503, ("Retry-After: 7",)),
    Case("503-ms", "503, `retry-after-ms: 20`", FAILURE, 503, ("retry-after-ms: 20",)),
)
ANSWERS = (
    Case("200", "200", SUCCESS, 200),
    *(Case(str(status), str(status), CALLERS, status) for status in (400, 401, 403, 404, 409, 413, 422)),
    *(Case(str(status), str(status), FAILURE, status) for status in (408, 500, 502, 503, 504, 529)),
    *UNHELD,
    *HELD,
)
BROKEN = (
    Case("closes", "closes the connection", FAILURE),
    Case("truncates", "200, then half a body", FAILURE),
    Case("malformed", "200, a body that is no JSON", FAILURE),
    Case("garbles", "what is no HTTP", FAILURE),
    Case("stalls", "nothing, until a time-out", FAILURE),
    Case("stalls-later", "200, half a body, then nothing", FAILURE),
)
#: Needs no server.
REFUSES = Case("refuses", "nobody listens", FAILURE)
NO_TLS = Case("no-tls", "no TLS where it is expected", FAILURE)
CASES = (*ANSWERS, *BROKEN, REFUSES, NO_TLS)
#: How streams go wrong in the middle, as OpenAI and Anthropic tell it, and what comes then.
EVENTS = {
    Case("event", "200, then an error event", FAILURE): b"""event: error
data: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

""",
    Case("event-malformed", "200, then an event that is no JSON", FAILURE): b"""event: message_start
data: {"type": "message_sta

""",
    Case("event-cut", "200, then half an event", FAILURE): b"""event: message_start
data: {"ty""",
}

#: What an SDK waits for by itself.
SOON = {
    "503-ms": next(case for case in UNHELD if case.path == "503-ms"),
    "429-soon": Case("429-soon", "429, `retry-after-ms: 20`", "hold, 0.02 s", 429, ("retry-after-ms: 20",)),
}

BODY = b'{"id": "1", "object": "none", "type": "none", "choices": [], "content": [], "error": {"message": "m"}}'
_BY_PATH = {case.path: case for case in (*CASES, *EVENTS, *SOON.values())}


class Backend:
    """The running server: its address, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = threading.Event()
        backend = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    backend.answer(self.request)

        class Server(socketserver.ThreadingTCPServer):
            block_on_close = True
            request_queue_size = 100

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]

    def url(self, case: Case) -> str:
        if case is REFUSES:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{free.getsockname()[1]}"
        return f"http{'s' * (case is NO_TLS)}://127.0.0.1:{self.port}/{case.path}"

    def answer(self, connection: socket.socket) -> None:
        target = request_path(connection)
        if target is None:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        path = target.split("/")[1]
        self.asked += 1
        case = _BY_PATH[path]
        if case.status:
            connection.sendall(_response(case.status, case.headers) + BODY)
        elif case in EVENTS:
            connection.sendall(_response(200, ()).replace(b"application/json", b"text/event-stream"))
            connection.sendall(EVENTS[case] if path == "event-cut" else EVENTS[case].ljust(len(BODY), b"\n"))
        elif path == "malformed":
            connection.sendall(_response(200, ()) + BODY[:20].ljust(len(BODY)))
        elif path == "garbles":
            connection.sendall(b"\x00\x01 no HTTP at all\r\n\r\n")
        elif path.startswith("stalls") or path == "truncates":
            if path != "stalls":
                connection.sendall(_response(200, ()) + BODY[:20])
            if path != "truncates":
                self.over.wait(10)


def _response(status: int, headers: tuple[str, ...]) -> bytes:
    reason = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Overloaded"
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode()


def request_path(connection: socket.socket) -> str | None:
    """Return the path, when all of the request was read; None: it is no HTTP."""
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(65_536)
        if not more or more.startswith(b"\x16"):  # a TLS handshake
            return None
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    chunked = any(name == b"transfer-encoding" for name, _, _ in lines)
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        body += connection.recv(65_536)
    return head.split()[1].decode()


@contextlib.contextmanager
def serving(backend: Any) -> Iterator[Any]:
    """Run the `server` of a backend in a thread; what waits in it waits for `over`."""
    thread = threading.Thread(target=backend.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield backend
    finally:
        backend.over.set()
        backend.server.shutdown()
        thread.join()
        backend.server.server_close()


def verdict_of(breaker: Any, listener: Any) -> str:
    """Return in words what a breaker with `fail_max=1` made of its only call."""
    look = breaker.snapshot()
    if look.reason == "hold":
        return f"hold, {look.retry_after:g} s"
    if look.fail_counter:
        return FAILURE
    return CALLERS if listener.neutrals else SUCCESS

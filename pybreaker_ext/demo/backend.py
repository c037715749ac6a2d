"""The demo's backend: a real HTTP server on a loopback port, which falls sick as planned."""

from __future__ import annotations

import random
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Final, Self

from pybreaker_ext.demo.plan import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

    from pybreaker_ext.demo.plan import Plan

#: Seconds that a good answer takes.
WORK: Final = 0.01

#: Seconds after which a sick backend answers when it is slow: nobody waits for so long.
TOO_LONG: Final = PATIENCE + 0.2


class Backend(ThreadingTCPServer):
    """The server, in threads of this process, so that it ends with it.

    Attributes:
        calls: Requests that arrived.
        sick_calls: Of each outage of the plan, requests that arrived during it.
    """

    daemon_threads = True
    # Workers that all call at the same moment must not wait a second for their connection.
    request_queue_size = 128

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = 0
        self.sick_calls: dict[int, int] = {}
        self.luck = random.Random(seed)  # noqa: S311  chance here is no cryptography
        self._plan: Plan | None = None
        self._start = 0.0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="demo-backend", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve; the backend is well until `follow` is called."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def follow(self, plan: Plan, start: float) -> None:
        """Be sick when the plan says so; `start` is in seconds of the monotonic clock."""
        self._start = start
        self._plan = plan

    def arrived(self) -> bool:
        """Count one request, and return whether it finds the backend sick."""
        outage = None if self._plan is None else self._plan.outage(time.monotonic() - self._start)
        with self._counting:
            self.calls += 1
            if outage is not None:
                self.sick_calls[outage] = self.sick_calls.get(outage, 0) + 1
        return outage is not None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about callers that don't wait for the answer."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, well or in one of three sick ways."""

    server: Backend

    def do_GET(self) -> None:
        """Answer, or not."""
        if not self.server.arrived():
            time.sleep(WORK)
            self._answer(HTTPStatus.OK)
            return
        sickness = self.server.luck.choices(("refuse", "hang up", "be slow"), (6, 2, 2))
        if sickness == ["be slow"]:
            time.sleep(TOO_LONG)
        if sickness != ["hang up"]:  # which is to return without an answer
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""

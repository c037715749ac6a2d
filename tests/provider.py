"""Two providers on loopback, OpenAI and Anthropic, that answer as a script tells, one request after the other."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from stream_backend import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of a whole stream: how many chunks of text it has, and after how many a broken one ends.
CHUNKS, BROKEN_AFTER = 60, 40

TEXTS = {"openai": "from openai", "anthropic": "from anthropic"}
ANSWERS: dict[str, Any] = {
    "openai": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXTS["openai"]}}
        ],
    },
    "anthropic": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": TEXTS["anthropic"]}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}
#: Status, headers, and the code of the error.
REFUSALS: dict[str, tuple[int, dict[str, str], str]] = {
    "503": (503, {}, "server_error"),
    "529": (529, {}, "overloaded_error"),
    "429": (429, {"Retry-After": "2"}, "rate_limit_exceeded"),
    "context": (400, {}, "context_length_exceeded"),
    "filter": (400, {}, "content_filter"),
}


class Provider:
    """One running provider.

    Attributes:
        script: What it does, request by request; the last again and again. `answer`, a key of
            `REFUSALS`, `reset`, `stall`; and of streams `cut` and `stall-later`.
        asked: When it was asked, in seconds of `time.monotonic`.
        before: Called before it does anything, in the thread of the request.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.script = ["answer"]
        self.asked: list[float] = []
        self.before: Callable[[], Any] = lambda: None
        self.over = threading.Event()
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                question = json.loads(self.rfile.read(length))
                with contextlib.suppress(OSError):
                    provider.answer(self, stream=question.get("stream", False))
                self.close_connection = True

            def log_message(self, *_args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            request_queue_size = 100

            def handle_error(self, *_args: Any) -> None: ...

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def plays(self, *script: str) -> None:
        """Begin anew with a script."""
        self.script = list(script)
        self.asked.clear()
        self.before = lambda: None

    def answer(self, request: BaseHTTPRequestHandler, *, stream: bool) -> None:
        with self._lock:
            scene = self.script[min(len(self.asked), len(self.script) - 1)]
            self.asked.append(time.monotonic())
        self.before()
        if scene in REFUSALS:
            self._refuse(request, *REFUSALS[scene])
        elif scene == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(request.connection.detach())
        elif scene == "stall":
            self.over.wait(60)
        elif stream:
            self._stream(request, scene)
        else:
            self._send(request, 200, {}, ANSWERS[self.name])

    def _refuse(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], code: str) -> None:
        error = {"message": code, "type": code, "code": code}
        self._send(request, status, headers, {"type": "error", "error": error})

    def _send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: Any) -> None:
        payload = json.dumps(body).encode()
        request.send_response(status, "So")
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(payload)

    def _stream(self, request: BaseHTTPRequestHandler, scene: str) -> None:
        """Send events; the end of the connection ends them, so that a cut looks like an end."""
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        events = PROVIDERS[self.name]
        whole = scene == "answer"
        parts = [*events.start(), *map(events.chunk, range(CHUNKS if whole else BROKEN_AFTER))]
        for part in [*parts, *(events.end() if whole else [])]:
            request.wfile.write(part)
        request.wfile.flush()
        if scene == "stall-later":
            self.over.wait(60)

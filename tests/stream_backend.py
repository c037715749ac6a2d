"""A provider on loopback that streams server-sent events, well or badly, as the first part of a URL's path tells.

The second part says whose events they are, OpenAI's or Anthropic's.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import threading
from typing import Any

from backend import request_path

CHUNKS = 3

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class OpenAI:
    path = "openai"

    def start(self) -> list[bytes]:
        return []

    def chunk(self, number: int) -> bytes:
        return _data(self._delta({"content": f"word {number} "}, None))

    def end(self) -> list[bytes]:
        return [_data(self._delta({}, "stop")), b"data: [DONE]\n\n"]

    def error(self) -> bytes:
        return _data({"error": {"type": "server_error", "message": "The server had an error"}})

    def _delta(self, delta: Any, reason: str | None) -> Any:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


class Anthropic:
    path = "anthropic"

    def start(self) -> list[bytes]:
        message = {"id": "1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        usage = {"input_tokens": 1, "output_tokens": 1}
        return [_event({"type": "message_start", "message": {**message, "usage": usage}}), _event(block)]

    def chunk(self, number: int) -> bytes:
        delta = {"type": "text_delta", "text": f"word {number} "}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta})

    def end(self) -> list[bytes]:
        delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
        return [_event({"type": "content_block_stop", "index": 0}), _event(delta), _event({"type": "message_stop"})]

    def error(self) -> bytes:
        return _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


PROVIDERS = {provider.path: provider for provider in (OpenAI(), Anthropic())}


def _data(payload: Any) -> bytes:
    return f"data: {json.dumps(payload)}\n\n".encode()


def _event(payload: Any) -> bytes:
    return f"event: {payload['type']}\n".encode() + _data(payload)


class Connection:
    """One request, as the provider sees it."""

    def __init__(self) -> None:
        #: Whether the client has closed the connection, or the provider has.
        self.closed = threading.Event()


class StreamBackend:
    """The running provider."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.over = threading.Event()
        backend = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection = Connection()
                backend.connections.append(connection)
                with contextlib.suppress(OSError):
                    backend.answer(self.request)
                    backend.wait_for_the_client(self.request)
                connection.closed.set()

        class Server(socketserver.ThreadingTCPServer):
            block_on_close = True
            request_queue_size = 100

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]

    def url(self, case: str, provider: str) -> str:
        return f"http://127.0.0.1:{self.port}/{case}/{provider}"

    def answer(self, connection: socket.socket) -> None:
        case, provider = (request_path(connection) or "//").split("/")[1:3]
        self.tell(connection, case, PROVIDERS[provider])

    def tell(self, connection: socket.socket, case: str, provider: Any) -> None:
        if case == "busy":
            connection.sendall(BUSY)
            return
        connection.sendall(HEAD)
        what, _, when = case.partition("-")
        before = [] if when else [*provider.start(), *map(provider.chunk, range(CHUNKS))]
        after = {"whole": provider.end(), "error": [provider.error()], "malformed": [provider.chunk(0)[:-20] + b"\n\n"]}
        for part in (*before, *after.get(what, ())):
            _send(connection, part)
        if what == "reset":
            _reset(connection)
        elif what not in ("broken", "stall"):
            connection.sendall(b"0\r\n\r\n")
        if what != "stall":
            connection.shutdown(socket.SHUT_WR)

    def wait_for_the_client(self, connection: socket.socket) -> None:
        """Return when the client has closed the connection; raise when it doesn't in a long time."""
        connection.settimeout(0.05)
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65_536):
                    return


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

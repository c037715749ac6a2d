"""How a client for threads is told to stop waiting: its connection is shut down from another thread.

Known are the responses of httpx (and so of the SDKs made with it) over HTTP/1.1, by their documented
extension `network_stream`, and those of requests and urllib3 2.3 and newer, by `shutdown`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def cutter(*carriers: Any) -> Callable[[], None] | None:
    """Return what shuts down the connection of the first carrier that has one; None: nobody has.

    A carrier is a response, a method of one, or something that has one as its `response`.
    """
    for carrier in carriers:
        owner = getattr(carrier, "__self__", None)
        for holder in (carrier, getattr(carrier, "response", None), owner):
            found = _of_httpx(holder) or _of_urllib3(holder) or _of_urllib3(getattr(holder, "raw", None))
            if found is not None:
                return found
    return None


def _of_httpx(response: Any) -> Callable[[], None] | None:
    extensions = getattr(response, "extensions", None)
    if not isinstance(extensions, dict) or extensions.get("http_version") == b"HTTP/2":  # others' streams, too
        return None
    info = getattr(extensions.get("network_stream"), "get_extra_info", None)
    connection = info("socket") if callable(info) else None
    if not isinstance(connection, socket.socket):
        return None
    # The plain socket's method: an SSLSocket's own would take it apart under its reader.
    return lambda: socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _of_urllib3(response: Any) -> Callable[[], None] | None:
    shutdown = getattr(response, "shutdown", None)
    if type(response).__module__.partition(".")[0] != "urllib3" or not callable(shutdown):
        return None
    found: Callable[[], None] = shutdown
    return found

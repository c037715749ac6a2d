"""A proxy on loopback in front of a Redis: questions and answers come later, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Proxy:
    """Forwards to a port; in a thread and an event loop of its own.

    Attributes:
        delay: Returns the seconds by which an answer is late, or is that number.
        passes: Returns what of an answer gets through. Nothing: it is lost. A part: the connection
            is cut behind it.
        sends: The same of a question.
        asked: Is told of each question.
    """

    def __init__(self, target: int) -> None:
        self.delay: float | Callable[[], float] = 0.0
        self.passes: Callable[[bytes], bytes] = bytes
        self.sends: Callable[[bytes], bytes] = bytes
        self.asked: Callable[[bytes], object] = bytes
        self.port = 0
        self._target = target
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(self._pump(reader, back, late=False), self._pump(there, writer, late=True))
            finally:
                back.close()
                writer.close()
        self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        while data := await reader.read(65_536):
            if not late:
                self.asked(data)
            passed = await self._late(data) if late else self.sends(data)
            writer.write(passed)
            await writer.drain()
            if 0 < len(passed) < len(data):
                break
        writer.close()

    async def _late(self, data: bytes) -> bytes:
        delay = self.delay if isinstance(self.delay, (int, float)) else self.delay()
        if delay:
            await asyncio.sleep(delay)
        return self.passes(data)


@contextlib.contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    with Proxy(port) as proxy:
        yield proxy

"""Every kind of store, behind one face and with a clock that the test turns.

Each test that is parametrised with `store` runs on all of them.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import fakeredis

from pybreaker_ext.machine import Decision, Event, Policy, Record
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage
from pybreaker_ext.storage.view import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from servers import RedisServer

_namespaces = itertools.count()


class Clock:
    """Microseconds since the epoch; stands still unless turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)

    @property
    def ms(self) -> int:
        return self.now // 1000


class ClockedMemory(CircuitMemoryStorage):
    test_clock: Clock

    def _now(self) -> int:
        return self.test_clock.now


class ClockedSQLite(CircuitSQLiteStorage):
    test_clock: Clock

    def _load(self, connection: Any) -> tuple[Record | None, int]:
        return super()._load(connection)[0], self.test_clock.now


class ClockedRedis(CircuitRedisStorage):
    PRELUDE = "local now = tonumber(ARGV[#ARGV])\n"
    test_clock: Clock

    def _arguments(self, event: Event, policy: Policy) -> tuple[Any, ...]:
        return (*super()._arguments(event, policy), b"%d" % self.test_clock.now)


class InLoop:
    """A storage whose every decision is made in an event loop."""

    def __init__(self, storage: Any, runner: asyncio.Runner) -> None:
        self.__dict__.update(inner=storage, runner=runner)

    def apply(self, event: Event, policy: Policy) -> Decision:
        return self.runner.run(self.inner.apply_async(event, policy))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)


class Store:
    """One circuit in one kind of store."""

    kind = ""

    def __init__(self) -> None:
        self.runner: asyncio.Runner | None = None
        self.clock = Clock()
        self.namespace = f"test-{next(_namespaces)}"
        self.policy = Policy()
        self.storage: Any = self.make()

    def make(self, state: str = "closed") -> Any:
        """Return another storage object of the same circuit, as another worker has."""
        raise NotImplementedError

    def lose(self) -> None:
        """Lose the record, as an eviction or a FLUSHALL does."""
        raise NotImplementedError

    def go_async(self) -> None:
        """Make all decisions in an event loop from now on."""
        self.runner = asyncio.Runner()
        self.storage = InLoop(self.storage, self.runner)
        made = self.make
        self.make = lambda *args: InLoop(made(*args), self.runner)  # type: ignore[method-assign, assignment]

    def apply(self, kind: str, token: str = "", generation: int = 0, **fields: Any) -> Decision:
        return self.storage.apply(Event(kind, token, generation, **fields), self.policy)

    def ask(self, token: str = "t") -> Decision:
        return self.apply("ask", token)

    @property
    def record(self) -> Record:
        return self.apply("read").after

    def close(self) -> None:
        """Give back what the store uses."""
        if self.runner is not None:
            self.runner.close()


class MemoryStore(Store):
    kind = "memory"

    def make(self, state: str = "closed") -> Any:
        storage = ClockedMemory(state)
        storage.test_clock = self.clock
        return storage

    def lose(self) -> None:
        self.storage.shown.view = UNKNOWN


class SQLiteStore(Store):
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__()

    def make(self, state: str = "closed") -> Any:
        assert state == "closed"
        storage = ClockedSQLite(self.path, self.namespace)
        storage.test_clock = self.clock
        return storage

    def lose(self) -> None:
        self.storage._file.run_now(
            lambda transaction: transaction.execute("DELETE FROM circuits WHERE namespace = ?", (self.namespace,))
        )


class RedisStore(Store):
    kind = "redis"
    async_client: Any = None

    def __init__(self, client: Any) -> None:
        self.client = client
        super().__init__()

    def make(self, state: str = "closed") -> Any:
        storage = ClockedRedis(state, self.client, self.namespace, async_redis=self.async_client)
        storage.test_clock = self.clock
        return storage

    def key(self, name: str) -> str:
        return f"{self.namespace}:pybreaker:{name}"

    def get(self, name: str) -> str | None:
        value = self.client.get(self.key(name))
        return value.decode() if isinstance(value, bytes) else value

    def lose(self) -> None:
        names = ("state", "fail_counter", "success_counter", "opened_at", "ext")
        self.client.delete(*map(self.key, names))

    def close(self) -> None:
        super().close()
        if self.storage._link._own is not None:
            self.storage._link._own.close()
        self.client.close()


class DecodedRedisStore(RedisStore):
    kind = "redis, decoded"


class FakeRedisStore(RedisStore):
    kind = "fakeredis"

    def __init__(self, server: fakeredis.FakeServer) -> None:
        self.async_client = fakeredis.FakeAsyncRedis(server=server)
        super().__init__(fakeredis.FakeRedis(server=server))


REDIS_KINDS = ("redis", "redis, decoded", "fakeredis")
KINDS = ("memory", "sqlite", *REDIS_KINDS)
IN_LOOP = "asyncio: "
ALL_KINDS = (*KINDS, *(IN_LOOP + kind for kind in KINDS))
ALL_REDIS_KINDS = (*REDIS_KINDS, *(IN_LOOP + kind for kind in REDIS_KINDS))


def open_store(kind: str, path: Path, server: RedisServer | None) -> Store:
    """Return a store with an unused circuit."""
    if kind.startswith(IN_LOOP):
        store = open_store(kind.removeprefix(IN_LOOP), path, server)
        store.go_async()
        return store
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SQLiteStore(path / "circuits.db")
    if kind == "fakeredis":
        return FakeRedisStore(fakeredis.FakeServer())
    assert server is not None
    if kind == "redis":
        return RedisStore(server.client())
    return DecodedRedisStore(server.client(decode_responses=True))

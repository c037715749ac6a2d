"""Circuits of many machines, on the keys that pybreaker's own Redis storage uses."""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pybreaker
from redis import RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster

from pybreaker_ext.errors import StoreBusyError, StoreUnavailableError, told
from pybreaker_ext.machine import CLOSED, FOREVER, VERDICTS, Decision, Event, Policy, Record
from pybreaker_ext.storage.answer import found_in
from pybreaker_ext.storage.cancellation import carried_out
from pybreaker_ext.storage.classic import ReadableStorage, check_namespace, check_state
from pybreaker_ext.storage.cluster import DeferredCluster
from pybreaker_ext.storage.history import LIMIT, Change, check_limit, check_worker, from_redis, not_read, process
from pybreaker_ext.storage.link import link_to
from pybreaker_ext.storage.outage import StandIn
from pybreaker_ext.storage.redis_urls import without_password
from pybreaker_ext.storage.script import PRELUDE, script

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger("pybreaker_ext.storage")

#: Returns the stream's last entries, the newest first. None when it is no stream.
LAST: Final = """
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
return found.err and {} or found"""

#: What Redis Cluster takes for a hash tag: the first braces, when they hold something.
TAG: Final = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)

#: Its setters are used as they are.
_plain: Any = pybreaker.CircuitRedisStorage


class CircuitRedisStorage(ReadableStorage, pybreaker.CircuitRedisStorage):
    """Keeps one circuit in Redis, for any number of processes on any number of machines.

    It works on the keys of `pybreaker.CircuitRedisStorage`, so plain pybreaker workers and
    dashboards share the circuit; what pybreaker has no key for stands in one hash,
    `[namespace:]pybreaker:ext`. Constructing does no I/O. Needs Redis 5 or newer.

    Args:
        state: The state of a circuit that Redis has nothing of: `"closed"`, `"open"` or `"half-open"`.
        redis_object: A `redis.Redis` or `redis.RedisCluster`, with or without `decode_responses`.
            Commands go through connections of our own, made from its settings, without retries.
        namespace: Prefix of the keys, normally the circuit's name. Without one, all such storages
            of one database share one circuit, as in pybreaker.
        fallback_circuit_state: The state in which each process goes on by itself while Redis
            can't be reached: `"closed"` counts and trips locally, `"open"` rejects.
        cluster_mode: Whether to make the namespace a hash tag, so that a Redis Cluster keeps all
            keys in one slot. A namespace that has a `{tag}` is used as it is.
        async_redis: A `redis.asyncio` client for asyncio programs; made from `redis_object`'s settings
            when it isn't given. Commands of a client that asyncio has no twin of run in a thread.
        key_ttl: Seconds after which an idle circuit's keys expire, counted from when it isn't
            open and no probe is out any more; None: never.
        history: Changes of state that Redis keeps, 0 to 1,000,000; 0: none.
        worker: What the history calls this worker; `host:pid` by default.

    Raises:
        TypeError: `namespace` or `worker` is no text, `key_ttl` or `history` no number,
            `redis_object` no synchronous client.
        ValueError: A state is none of the three, `namespace` is empty, or has no tag for a cluster;
            `key_ttl` isn't above 0, `history` or `worker` out of its range.
    """

    PRELUDE: ClassVar[str] = PRELUDE

    def __init__(
        self,
        state: str,
        redis_object: Any,
        namespace: str | None = None,
        fallback_circuit_state: str = CLOSED,
        cluster_mode: bool = False,  # noqa: FBT001, FBT002  pybreaker's own signature
        *,
        async_redis: Any = None,
        key_ttl: float | None = None,
        history: int = LIMIT,
        worker: str | None = None,
    ) -> None:
        check_state("state", state)
        check_state("fallback_circuit_state", fallback_circuit_state)
        if namespace is not None:
            check_namespace(namespace)
            if cluster_mode:
                _check_tag(namespace)
        _check_client(redis_object)
        if isinstance(redis_object, RedisCluster) and not cluster_mode and not (namespace and TAG.match(namespace)):
            message = (
                f"namespace must hold a {{tag}}, or cluster_mode be True, with a RedisCluster; it is {namespace!r}"
            )
            raise ValueError(message)
        self._key_ttl = key_ttl_milliseconds(key_ttl)
        self._history = check_limit(history)
        self._worker = check_worker(worker)
        super().__init__(state, redis_object, namespace, fallback_circuit_state, cluster_mode)
        names = ("state", "fail_counter", "success_counter", "opened_at", "ext", "history")[: 6 if history else 5]
        self._keys = [self._namespace(name).encode() for name in names]  # which redis-py need not do each time
        self._program = script(self.PRELUDE)
        self._link = link_to(redis_object, async_redis)
        self.outage = self._link.outage
        self._stand_in = StandIn(self.outage, str(fallback_circuit_state))
        self._packed: tuple[Policy | None, bytes] = (None, b"")
        #: The last answer but for its times, and what it said.
        self._known: tuple[str, Any] = ("", None)
        #: Names of values that were not understood, each with whoever has logged it.
        self._reported_strange: dict[str, object] = {}

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The circuit's keys, in the order of keys.lua."""
        return tuple(self._keys)

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        return self._stand_in.apply(self._attempt, event, policy)

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        command = self._stand_in.apply_async(self._attempt_async, event, policy)
        return await carried_out(command, self, event, policy)

    def history(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first.

        Raises:
            StoreUnavailableError: Redis can't be read, and isn't known to be away.
        """
        if self.outage.epoch % 2 or not self._history:
            return self._stand_in.history(limit)
        try:
            found = self._link.run(self.outage.epoch, LAST, self._keys[5:], (b"%d" % limit,))
        except (StoreBusyError, StoreUnavailableError) as error:
            raise not_read(error) from (error.__cause__ or error)
        return from_redis(found[::-1])

    async def history_async(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first.

        Raises:
            StoreUnavailableError: Redis can't be read, and isn't known to be away.
        """
        if self.outage.epoch % 2 or not self._history:
            return self._stand_in.history(limit)
        try:
            found = await self._link.run_async(self.outage.epoch, LAST, self._keys[5:], (b"%d" % limit,))
        except (StoreBusyError, StoreUnavailableError) as error:
            raise not_read(error) from (error.__cause__ or error)
        return from_redis(found[::-1])

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        answer = self._link.run(event.epoch, self._program, self._keys, self._arguments(event, policy))
        return self._decision(answer)

    async def _attempt_async(self, event: Event, policy: Policy) -> Decision:
        answer = await self._link.run_async(event.epoch, self._program, self._keys, self._arguments(event, policy))
        return self._decision(answer)

    def _arguments(self, event: Event, policy: Policy) -> tuple[bytes, bytes]:
        """Return ARGV, as keys.lua describes it."""
        known, packed = self._packed
        if known is not policy:
            packed = " ".join(map(str, (self._key_ttl, self._history, self._initial_state, *policy))).encode()
            self._packed = (policy, packed)
        kind, token, generation, duration, luck, epoch = event
        trial = epoch % 2  # the first command after an outage: does the server take writes again?
        worker = self._worker or process.name
        return f"{kind} {trial} {generation} {token or '-'} {duration} {luck} {worker}".encode(), packed

    def _decision(self, answer: Any) -> Decision:
        """Return what keys.lua has answered.

        Raises:
            StoreUnavailableError: It has not: somebody else answers in the server's place.
        """
        try:
            return self._taken_apart(answer)
        except Exception as error:
            raise StoreUnavailableError from error

    def _taken_apart(self, answer: Any) -> Decision:
        text = answer.decode() if isinstance(answer, bytes) else answer
        verdict, wait, now, rest = text.split(" ", 3)
        if verdict not in VERDICTS:
            message = "an answer has a verdict that there isn't"
            raise ValueError(message)
        known, found = self._known
        if rest != known:  # while all is well, Redis says the same again and again
            found = self._found(rest)
            self._known = (rest, found)
        state, generation, after, stored = found
        return Decision(verdict, state, generation, after, False, int(wait), int(now), stored)  # noqa: FBT003

    def _found(self, text: str) -> tuple[str, int, Record, int | None]:
        """Return state and generation before, the record, and the generation that is stored if that is another."""
        found = found_in(text)
        if found.strange:
            self._warn_of_strange(found.strange)
        return found[:4]

    def _warn_of_strange(self, names: str) -> None:
        mine = object()
        for name in set(names.split(",")):  # a key and a field may have one name
            if self._reported_strange.setdefault(name, mine) is mine:  # one step: threads may come at the same time
                logger.warning(
                    "Redis holds a value that is not understood, and treated as missing: %s of %s",
                    name,
                    self._keys[0].decode(),
                )

    def _initialize_redis_state(self, state: str) -> None:
        """Do nothing: constructing does no I/O, and a missing record is a state like another."""

    def _namespace(self, key: str) -> str:
        name = super()._namespace(key)
        if not self._cluster_mode or (self._namespace_name and TAG.match(self._namespace_name)):
            return name
        tagged = self._namespace_name or self.BASE_NAMESPACE
        return name.replace(tagged, f"{{{tagged}}}", 1)

    def _set_state(self, state: str) -> None:
        _plain.state.fset(self, state)

    def _set_opened_at(self, moment: datetime) -> None:
        _plain.opened_at.fset(self, moment)


def _check_client(client: Any) -> None:
    if isinstance(client, DeferredCluster):
        return
    if isinstance(client, str):
        shown = without_password(client)
        message = f"redis_object must be a client, not {shown!r}; get_circuit_breaker(url, name) takes URLs"
        raise TypeError(message)
    if isinstance(client, (AsyncRedis, AsyncRedisCluster)):
        message = (
            f"redis_object must be a client for threads, such as redis.Redis, not {told(client)}; asyncio programs get "
            "a client of their own, made from its settings, or the one that is given as async_redis"
        )
        raise TypeError(message)
    if not callable(getattr(client, "evalsha", None)):
        message = f"redis_object must be a redis.Redis or redis.RedisCluster client, not {told(client)}"
        raise TypeError(message)


def _check_tag(namespace: str) -> None:
    if namespace.startswith("}"):
        message = f"namespace must not begin with '}}' with cluster_mode=True, and it is {namespace!r}"
        raise ValueError(message)


def key_ttl_milliseconds(key_ttl: float | None) -> int:
    """Return `key_ttl` as keys.lua takes it, 0 for None; raise when it is out of its range."""
    if key_ttl is None:
        return 0
    if isinstance(key_ttl, bool) or not isinstance(key_ttl, (int, float)):
        message = f"key_ttl must be a number of seconds or None, not {key_ttl!r}"
        raise TypeError(message)
    if not 0 < key_ttl < math.inf:
        message = f"key_ttl must be a finite number of seconds above 0, or None, not {key_ttl!r}"
        raise ValueError(message)
    return FOREVER if key_ttl >= FOREVER / 1000 else math.ceil(key_ttl * 1000)

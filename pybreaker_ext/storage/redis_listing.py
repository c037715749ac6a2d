"""The circuits on a Redis server, behind sentinels, or on all primaries of a Redis Cluster.

Circuits are found by SCAN and read by the very script that decides, with an event that changes nothing:
so what is shown is what workers would see, foreign writes that nobody has adopted yet among it.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from redis import RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, ResponseError

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import CLOSED, FOREVER, SEEN, STATES, Decision, Policy, adopt, missing, retry_after
from pybreaker_ext.storage.answer import found_in
from pybreaker_ext.storage.clients import whole_client
from pybreaker_ext.storage.history import from_redis
from pybreaker_ext.storage.places import EXPIRY, MOST_CHANGES, Glance, Place, Seen
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.redis_scan import Scan
from pybreaker_ext.storage.redis_urls import in_words
from pybreaker_ext.storage.script import digest, evaluate, script
from pybreaker_ext.storage.urls import in_one_slot, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pybreaker_ext.storage import Storage
    from pybreaker_ext.storage.history import Change

#: Where states are kept; `cluster_mode` without a namespace puts braces around pybreaker's own part.
PATTERN: Final = b"*pybreaker*:state"
_KEY: Final = re.compile(rb"(?P<prefix>(?:(?P<namespace>.+):)?(?:pybreaker|(?P<tag>\{pybreaker\})):)state", re.DOTALL)

#: Circuits that are read in one go.
BATCH: Final = 250

#: ARGV of keys.lua for a look. The settings are the workers' own, and nobody here knows them.
_POLICY: Final = Policy()
_READ: Final = (b"read 0 0 - 0 0.0 -", " ".join(map(str, (0, 0, CLOSED, *_POLICY))).encode())
_NAMES: Final = (b"state", b"fail_counter", b"success_counter", b"opened_at", b"ext")


class RedisListing:
    """What a Redis holds. Commands go through a client of our own.

    Args:
        client: What `from_client` takes.
        where: The store, in words.
    """

    def __init__(self, client: Any, where: str) -> None:
        self.where = where
        self._given = client
        self._own: Any = None
        self._scan = Scan(PATTERN)

    @property
    def complete(self) -> bool:
        """Whether a search has looked everywhere at least once."""
        return self._scan.complete

    def search(self, pages: int | None = None) -> Sequence[Place]:
        """Return the places that are known, after so many SCANs; None: all that a whole pass takes."""
        with self._boundary():
            self._scan.go_on(self._servers, pages)
        in_cluster = isinstance(self._own, RedisCluster)
        found = (_place(key, in_cluster=in_cluster) for key in self._scan.known)
        return sorted(place for place in found if place is not None)

    def find(self, name: str) -> Place | None:
        """Return the place of one circuit, after one EXISTS; None: there is none that a registry calls so."""
        with self._boundary():
            client = self._client()
            namespace = in_one_slot(name) if self._in_cluster else name
            place = _place(f"{namespace}:pybreaker:state".encode(errors="replace"), in_cluster=self._in_cluster)
            return place if place and client.exists(place.prefix + b"state") else None

    def glance(self, places: Iterable[Place]) -> dict[Place, Glance]:
        """Return a glance at each circuit that is still there: an MGET for each 250, in a cluster two GETs for each."""
        found: dict[Place, Glance] = {}
        with self._boundary():
            for node, some in self._batches(places):
                keys = [place.prefix + name for place in some for name in _NAMES[:2]]
                values = _each(node, keys) if self._in_cluster else node.mget(keys)
                for place, state, failures in zip(some, values[::2], values[1::2], strict=True):
                    if state is not None:
                        found[place] = _glance(state, failures)
        return found

    def read(self, places: Iterable[Place]) -> dict[Place, Seen]:
        """Read circuits: two commands for each, 250 of them in one round trip."""
        with self._boundary():
            return {place: seen for node, some in self._batches(places) for place, seen in self._read(node, some)}

    def history(self, place: Place, limit: int) -> list[Change]:
        """Return the last `limit` changes of a circuit's state, the oldest first."""
        with self._boundary():
            client, key = self._client(), place.prefix + b"history"
            with contextlib.suppress(ResponseError):  # a key of another type is no history
                return _changes(client.xrevrange(key, count=limit))[::-1]
            return []

    def storage_at(self, place: Place, worker: str) -> Storage:
        """Return the storage by which somebody called `worker` may set a circuit.

        Raises:
            StoreUnavailableError: The store can't be asked.
            ValueError: The circuit's name is no text.
        """
        with self._boundary():
            expires = self._client().pttl(place.prefix + b"state") >= 0
        storage = CircuitRedisStorage(
            CLOSED,
            self._given,
            place.namespace,
            cluster_mode=place.prefix == b"{pybreaker}:",
            key_ttl=EXPIRY if expires else None,
            history=MOST_CHANGES,
            worker=worker,
        )
        if storage.keys[0] != place.prefix + b"state":
            message = "its keys are no UTF-8 text"
            raise ValueError(message)
        return storage

    def close(self) -> None:
        """Close our own client's connections."""
        if self._own is not None and self._own is not self._given:
            self._own.close()
        self._own = None

    def _client(self) -> Any:
        if self._own is None:
            own = whole_client(self._given)
            if not isinstance(own, RedisCluster):
                _check_mode(own)
            self._own = own
        return self._own

    @property
    def _in_cluster(self) -> bool:
        return isinstance(self._own, RedisCluster)

    def _servers(self) -> Iterator[Any]:
        client = self._client()
        if not self._in_cluster:
            yield client
            return
        for node in client.get_primaries():
            yield client.get_redis_connection(node)

    def _batches(self, places: Iterable[Place]) -> Iterator[tuple[Any, list[Place]]]:
        """Return places in batches, each with the server that has them."""
        client = self._client()
        of_node: dict[Any, list[Place]] = {}
        for place in places:
            node = client.get_node_from_key(place.prefix + b"state") if self._in_cluster else None
            of_node.setdefault(node, []).append(place)
        for node, some in of_node.items():
            server = client.get_redis_connection(node) if node else client
            for start in range(0, len(some), BATCH):
                yield server, some[start : start + BATCH]

    def _read(self, node: Any, places: list[Place]) -> Iterator[tuple[Place, Seen]]:
        answers = _look(node, places)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            evaluate(node, script(), _keys(places[0]), _READ)  # which tells the server the script
            answers = _look(node, places)
        for place, answer, entries in zip(places, answers[::2], answers[1::2], strict=True):
            if isinstance(answer, ResponseError) and not self._in_cluster:
                raise answer
            decision = self._decision_elsewhere(place) if isinstance(answer, Exception) else _decision(answer)
            yield place, Seen(decision, next(iter(_changes(entries)), None))

    def _decision_elsewhere(self, place: Place) -> Decision:
        """Read a circuit whose slot has just moved, or whose keys lie in several slots, as plain pybreaker's may."""
        client = self._client()
        with contextlib.suppress(ResponseError, RedisClusterException):
            return _decision(evaluate(client, script(), _keys(place), _READ))
        state, failures, successes, opened_at = (client.get(place.prefix + name) for name in _NAMES[:4])
        seconds, micros = client.time(target_nodes=client.get_node_from_key(place.prefix + b"state"))
        ms = seconds * 1000 + micros // 1000
        known = _glance(state, failures)
        record = adopt(missing(CLOSED, 0), known.state, min(_number(opened_at) * 1000, FOREVER), _POLICY, ms)
        record = record._replace(fail_counter=known.fail_counter, success_counter=_number(successes))
        wait = retry_after(record, _POLICY, ms)
        return Decision(SEEN, record.state, record.generation, record, write=False, retry_after=wait, now=ms, stored=0)

    @contextlib.contextmanager
    def _boundary(self) -> Iterator[None]:
        """Turn the client's errors into the one that says that the store can't be asked."""
        try:
            yield
        except StoreUnavailableError:
            self.close()
            raise
        except Exception as error:  # redis-py's, and those of settings, plug-ins and proxies
            self.close()
            raise StoreUnavailableError(in_words(error)) from error


def _check_mode(client: Any) -> None:
    """Refuse servers that would tell a part of the truth only.

    Raises:
        StoreUnavailableError: It is one node of a cluster, or a sentinel.
    """
    try:
        mode = client.info("server").get("redis_mode")
    except ResponseError:  # not ours to know
        return
    if mode == "cluster":
        message = "it is one node of a Redis Cluster, which redis+cluster://host:port reads as a whole"
        raise StoreUnavailableError(message)
    if mode == "sentinel":
        message = "it is a sentinel; its servers are found by redis+sentinel://host:port/service/0"
        raise StoreUnavailableError(message)


def _place(key: bytes, *, in_cluster: bool) -> Place | None:
    """Return the place that a state's key tells; None if it is something else's."""
    match = _KEY.fullmatch(key)
    if match is None or (match["tag"] and match["namespace"]):
        return None
    if match["namespace"] is None:
        return Place("", None, match["prefix"])
    namespace = match["namespace"].decode(errors="backslashreplace")
    return Place(name_of(namespace) if in_cluster else namespace, namespace, match["prefix"])


def _keys(place: Place) -> list[bytes]:
    return [place.prefix + name for name in _NAMES]


def _each(node: Any, keys: list[bytes]) -> list[Any]:
    """Return the values of keys that lie in many slots; None for one that is elsewhere just now."""
    pipeline = node.pipeline(transaction=False)
    for key in keys:
        pipeline.get(key)
    return [None if isinstance(value, Exception) else value for value in pipeline.execute(raise_on_error=False)]


def _look(node: Any, places: list[Place]) -> list[Any]:
    """Return two answers for each place: the script's, and the last entry of the history."""
    pipeline = node.pipeline(transaction=False)
    for place in places:
        pipeline.execute_command("EVALSHA", digest(script()), len(_NAMES), *_keys(place), *_READ)
        pipeline.execute_command("XREVRANGE", place.prefix + b"history", "+", "-", "COUNT", 1)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def _decision(answer: str | bytes) -> Decision:
    text = answer.decode() if isinstance(answer, bytes) else answer
    verdict, wait, now, rest = text.split(" ", 3)
    state, generation, after, stored, _ = found_in(rest)
    return Decision(verdict, state, generation, after, write=False, retry_after=int(wait), now=int(now), stored=stored)


def _changes(entries: Any) -> list[Change]:
    """Return the changes that entries tell as redis-py gives them; an error tells none."""
    if isinstance(entries, Exception):
        return []
    return from_redis([(name, [part for pair in fields.items() for part in pair]) for name, fields in entries])


def _glance(state: str | bytes | None, failures: str | bytes | None) -> Glance:
    text = state.decode(errors="replace") if isinstance(state, bytes) else state
    return Glance(text if text in STATES else CLOSED, _number(failures))


def _number(value: str | bytes | None) -> int:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(FOREVER)) else 0

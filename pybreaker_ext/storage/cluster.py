"""The nodes of a Redis Cluster: which of them has a circuit's keys.

redis-py's own clients for clusters walk through the nodes with the whole time-out for each, and want an
answer of one certain primary before they can be used. So one silent node would cost a call more than
one time-out, and perhaps every circuit its store. Here a node is asked where the slots are, and then the
circuit's own node is all that matters.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.exceptions import AskError, MaxConnectionsError, MovedError, RedisError, SlotNotCoveredError, TryAgainError

from pybreaker_ext.errors import StoreBusyError
from pybreaker_ext.storage.nodes import Asking, AskingAsync, NodeClients, node
from pybreaker_ext.storage.pools import close_idle
from pybreaker_ext.storage.script import evaluate, evaluate_async
from pybreaker_ext.storage.slots import Address, SlotMap, heard, reached
from pybreaker_ext.storage.turns import Turns, check_answers, check_answers_async, longest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    Alone = Callable[[], AbstractContextManager[None]]
    AloneAsync = Callable[[], AbstractAsyncContextManager[None]]

#: Nodes to which a command is sent, each because the one before says that the slot has moved there.
MOST_MOVES: Final = 3
#: Seconds between two questions where the slots are, while they are only moved.
RELEARN_INTERVAL: Final = 1.0
DISAGREE: Final = "the cluster's nodes disagree on where a slot is"


class DeferredCluster:
    """Stands for a `redis.RedisCluster` that a URL tells of. Making it does no I/O.

    Args:
        nodes: Host and port of some of the cluster's nodes, at least one.
        settings: What `redis.Redis` takes, `socket_timeout` and `socket_connect_timeout` (seconds)
            among it.
    """

    def __init__(self, nodes: Sequence[Address], settings: Mapping[str, Any]) -> None:
        self.nodes = tuple(nodes)
        self.settings = dict(settings)

    def __getattr__(self, name: str) -> Any:
        """Return a client's command, whose first argument is a key: `pybreaker.CircuitRedisStorage` writes by it."""
        if name.startswith("__") or not hasattr(Redis, name):
            raise AttributeError(name)

        def command(key: str, *values: Any) -> Any:
            cluster = Cluster(self.nodes, self.settings, node, timeout=longest(self.settings))
            try:
                return getattr(cluster.clients.get(cluster.find(key.encode())), name)(key, *values)
            finally:
                cluster.close()

        return command


class Cluster:
    """Our own way to a cluster's nodes, for threads or for one event loop.

    Args:
        nodes: Host and port of some of the nodes, at least one.
        settings: Those of the clients.
        make: Returns a new client of one node: `node` or `node_async`.
        timeout: Seconds that one attempt may wait in vain; None: whatever the clients may.
        remap: Returns where a node is reached.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        settings: Mapping[str, Any],
        make: Callable[[Address, Mapping[str, Any]], Any],
        *,
        timeout: float | None = None,
        remap: Callable[[Address], Address] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clients = NodeClients(settings, make)
        self._remap = remap
        self._turns = Turns(nodes, timeout)
        self._map: SlotMap | None = None
        self._clock = clock
        self._learned = -math.inf

    def run(self, alone: Alone, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """Run a Lua program on the node that has the keys.

        `alone()` lets one caller at a time look for nodes.

        Raises:
            StoreBusyError: The keys are being moved to another node.
            Exception: Whatever redis-py raises; the nodes are looked for anew next time.
        """
        self._drop_outdated()
        for _ in range(MOST_MOVES):
            address = self._found(keys[0])
            if address is None:
                with alone():
                    address = self._found(keys[0]) or self.find(keys[0])
            try:
                return self._evaluate(address, self.clients.get(address), program, keys, arguments)
            except MovedError as error:  # nothing has run
                self._note_move(address, error)
            except AskError as error:  # nor has it here; the keys are elsewhere already, and the slot isn't yet
                there = reached(error.host, error.port, address, self._remap)
                return self._evaluate(there, Asking(self.clients.get(there)), program, keys, arguments)
        if address is not None:
            self._lose(address)
        raise RedisError(DISAGREE)

    async def run_async(
        self, alone: AloneAsync, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        """Run a Lua program on the node that has the keys.

        `alone()` lets one caller at a time look for nodes.

        Raises:
            StoreBusyError: The keys are being moved to another node.
            Exception: Whatever redis-py raises; the nodes are looked for anew next time.
        """
        self._drop_outdated()
        for _ in range(MOST_MOVES):
            address = self._found(keys[0])
            if address is None:
                async with alone():
                    address = self._found(keys[0]) or await self.find_async(keys[0])
            try:
                return await self._evaluate_async(address, self.clients.get(address), program, keys, arguments)
            except MovedError as error:  # nothing has run
                self._note_move(address, error)
            except AskError as error:  # nor has it here; the keys are elsewhere already, and the slot isn't yet
                there = reached(error.host, error.port, address, self._remap)
                return await self._evaluate_async(there, AskingAsync(self.clients.get(there)), program, keys, arguments)
        if address is not None:
            self._lose(address)
        raise RedisError(DISAGREE)

    def _evaluate(
        self, address: Address, client: Any, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        """Run a Lua program on one node."""
        try:
            return evaluate(client, program, keys, arguments)
        except TryAgainError as error:  # some keys are here, others there
            raise StoreBusyError from error
        except (AskError, MovedError, MaxConnectionsError):
            raise
        except Exception:
            self._forget(address)
            raise

    async def _evaluate_async(
        self, address: Address, client: Any, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        """Run a Lua program on one node."""
        try:
            return await evaluate_async(client, program, keys, arguments)
        except TryAgainError as error:  # some keys are here, others there
            raise StoreBusyError from error
        except (AskError, MovedError, MaxConnectionsError):
            raise
        except Exception:
            await self._forget_async(address)
            raise

    def find(self, key: bytes) -> Address:
        """Return the node that has a key; if some are silent, it is known to answer.

        Raises:
            RedisError: No node answers, the one that has the key doesn't, or none has it.
        """
        known = self._map
        if known is None:
            (asked, slots), left = self._turns.ask(self._slots)
            known = self._learn(asked, slots, left)
            for client in self.clients.leaving(known.nodes):
                with contextlib.suppress(Exception):
                    client.connection_pool.disconnect(inuse_connections=False)
        address = self._owner(known, key)
        if known.owner_alive(key) is None:
            try:
                with self.clients.new(address, known.left) as client:
                    check_answers(client)
            except Exception:
                self._forget(address)
                raise
            known.alive.add(address)
        return address

    async def find_async(self, key: bytes) -> Address:
        """Return the node that has a key; if some are silent, it is known to answer.

        Raises:
            RedisError: No node answers, the one that has the key doesn't, or none has it.
        """
        known = self._map
        if known is None:
            (asked, slots), left = await self._turns.ask_async(self._slots_async)
            known = self._learn(asked, slots, left)
            for client in self.clients.leaving(known.nodes):
                await close_idle(client.connection_pool)
        address = self._owner(known, key)
        if known.owner_alive(key) is None:
            try:
                async with self.clients.new(address, known.left) as client:
                    await check_answers_async(client)
            except Exception:
                await self._forget_async(address)
                raise
            known.alive.add(address)
        return address

    def close(self) -> None:
        """Close all connections."""
        for client in self.clients.all():
            client.close()

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self.clients.all():
            await client.aclose()

    def _slots(self, address: Address, part: float) -> tuple[Address, list[Any]]:
        """Ask one node where the slots are."""
        with self.clients.new(address, part) as client:
            return address, heard(client.execute_command("CLUSTER SLOTS"))

    async def _slots_async(self, address: Address, part: float) -> tuple[Address, list[Any]]:
        """Ask one node where the slots are."""
        async with self.clients.new(address, part) as client:
            return address, heard(await client.execute_command("CLUSTER SLOTS"))

    def _owner(self, known: SlotMap, key: bytes) -> Address:
        try:
            return known.owner(key)
        except SlotNotCoveredError:  # others may know more
            self._lose(known.asked)
            raise

    def _found(self, key: bytes) -> Address | None:
        """Return the node that has a key; None: it has to be looked for."""
        known = self._map
        return known.owner_alive(key) if known is not None else None

    def _learn(self, asked: Address, slots: list[Any], left: float) -> SlotMap:
        """Go on by what a node has said; the others that it knows can be asked, too."""
        self._map, self._learned = SlotMap(slots, asked, left, self._remap), self._clock()
        self._turns.know(self._map.nodes)
        return self._map

    def _note_move(self, asked: Address, error: MovedError) -> None:
        """Go on with the slot's new node, which is the first to be asked next time: others may have joined with it."""
        known = self._map
        if known is not None and known.owner_of(error.slot_id) == asked:  # or somebody has asked meanwhile
            there = reached(error.host, error.port, asked, self._remap)
            known.move(error.slot_id, there)
            self._turns.put_first(there)

    def _drop_outdated(self) -> None:
        """After a move, ask anew where the slots are, as one move follows the other: once a second at most.

        Not in the same attempt, which has one time-out for all.
        """
        known = self._map
        if known is not None and known.outdated and self._clock() >= self._learned + RELEARN_INTERVAL:
            self._map = None

    def _forget(self, address: Address) -> None:
        """After a failure, ask anew where the slots are, this node last, and by other connections."""
        self._lose(address)
        with contextlib.suppress(Exception):
            self.clients.get(address).connection_pool.disconnect(inuse_connections=False)

    async def _forget_async(self, address: Address) -> None:
        """After a failure, ask anew where the slots are, this node last, and by other connections."""
        self._lose(address)
        with contextlib.suppress(Exception):
            await close_idle(self.clients.get(address).connection_pool)

    def _lose(self, address: Address) -> None:
        self._map = None
        self._turns.put_last(address)

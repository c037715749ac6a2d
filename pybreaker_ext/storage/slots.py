"""Where the slots of a Redis Cluster are, as one of its nodes says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import RedisError, SlotNotCoveredError
from redis.utils import str_if_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

SLOTS: Final = 16_384

#: Host and port of a node.
Address = tuple[str, int]


def heard(slots: list[Any]) -> list[Any]:
    """Return the answer to CLUSTER SLOTS; raise if there is nothing in it, because another node may know more."""
    if not slots:
        message = "a node knows of no slots"
        raise RedisError(message)
    return slots


def reached(host: str | None, port: int, asked: Address, remap: Callable[[Address], Address] | None) -> Address:
    """Return where a node is reached; one that doesn't know its own host has that of the one asked."""
    address = (host or asked[0], port)
    return remap(address) if remap else address


class SlotMap:
    """Which node has which slot.

    Args:
        slots: The answer to CLUSTER SLOTS.
        asked: Who gave it.
        left: What was then left of the time-outs, 1 to 0. If it isn't all, a node has to give a sign of
            life within that before a command may take a whole time-out.
        remap: Returns where a node is reached.
    """

    def __init__(
        self, slots: list[Any], asked: Address, left: float, remap: Callable[[Address], Address] | None
    ) -> None:
        self.asked = asked
        self.left = left
        #: Whether a slot is known to have moved since.
        self.outdated = False
        #: Nodes that have given a sign of life since.
        self.alive = {asked}
        self._owners: list[Address | None] = [None] * SLOTS
        #: All that are known, primaries and replicas.
        self.nodes: list[Address] = []
        for first, last, *holders in slots:
            found = [reached(str_if_bytes(host), int(port), asked, remap) for host, port, *_ in holders]
            self._owners[first : last + 1] = found[:1] * (last + 1 - first)
            self.nodes += found

    def owner(self, key: bytes) -> Address:
        """Return the node that has a key.

        Raises:
            SlotNotCoveredError: No node has it.
        """
        slot = key_slot(key)
        owner = self.owner_of(slot)
        if owner is None:
            message = f"no node of the cluster has slot {slot}"
            raise SlotNotCoveredError(message)
        return owner

    def owner_alive(self, key: bytes) -> Address | None:
        """Return the node that has a key; None: no node has it, or that one has yet to give a sign of life."""
        owner = self.owner_of(key_slot(key))
        return owner if self.left == 1 or owner in self.alive else None

    def owner_of(self, slot: int) -> Address | None:
        """Return the node that has a slot; None: no node has it."""
        return self._owners[slot]

    def move(self, slot: int, there: Address) -> None:
        """Note that a slot has moved, and that others may have, too."""
        self._owners[slot] = there
        self.outdated = True

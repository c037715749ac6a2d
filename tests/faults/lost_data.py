"""A Redis server that loses what it was told: it starts with an older dump, or evicts keys."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faults.patience import NeverError, wait_until
from faults.worker_faults import close_circuit, open_circuit

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from faults.fault import Scene

#: Bytes that a server may use beyond what it uses when its memory becomes scarce.
ROOM: Final = 4_000_000
#: Keys of ten kilobytes that are written at once: less than there is room for.
JUNK: Final = 50


def key(scene: Scene, name: str) -> str:
    return f"{scene.traffic.name}:pybreaker:{name}"


def kill(scene: Scene) -> None:
    scene.place.server.kill()


def kill_and_lose_dump(scene: Scene) -> None:
    """A place that has seen other faults may have a dump."""
    with scene.place.admin() as admin:
        dump = Path(admin.config_get("dir")["dir"]) / "dump.rdb"
    kill(scene)
    dump.unlink(missing_ok=True)


def start(scene: Scene) -> None:
    scene.place.server.start()


def start_in_the_past(scene: Scene) -> None:
    """Start with the dump, and make sure that the last change before the end is none that it has."""
    start(scene)
    with scene.place.admin() as admin:
        saved, lost = (admin.xrange(key(scene, "history"), at, at) for at in scene.notes.pop("changes"))
    if not saved or lost:
        raise NeverError("the server began with a dump that is older than its end")


def last_change(scene: Scene) -> bytes:
    """Return what the circuit's last change of state is called in its history."""
    with scene.place.admin() as admin:
        ((name, _fields),) = admin.xrevrange(key(scene, "history"), count=1)
    return bytes(name)


def save_and_go_on(first: Callable[[Scene], None], then: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """Return what saves the circuit after the first, and kills the server after what follows, which is lost."""

    def save_and_die(scene: Scene) -> None:
        first(scene)
        saved = last_change(scene)
        with scene.place.admin() as admin:
            admin.save()
        then(scene)
        scene.notes["changes"] = saved, last_change(scene)
        kill(scene)

    return save_and_die


def fill(scene: Scene) -> None:
    """Write until the server has evicted what there was of the circuit, and go on while the workers write it anew.

    The room is large enough for what the connections need: without it the server would refuse all writes.
    """
    if not scene.traffic.board.sick:  # a circuit that never was open has no keys
        open_circuit(scene)
        close_circuit(scene)
    with scene.place.admin() as admin, admin.pubsub() as told:
        wait_until("workers have written the circuit", lambda: admin.exists(key(scene, "ext")))
        if admin.config_get("maxmemory")["maxmemory"] == "0":
            admin.config_set("maxmemory", admin.info("memory")["used_memory"] + ROOM)
            admin.config_set("maxmemory-policy", "allkeys-lru")
            admin.config_set("notify-keyspace-events", "Ee")
        told.subscribe("__keyevent@0__:evicted")
        evicted: set[bytes] = set()
        missing = {key(scene, name).encode() for name in ("ext", "state")}

        def gone() -> bool:
            write_junk(admin)
            while (message := told.get_message()) is not None:
                evicted.add(message["data"])
            return missing <= evicted

        wait_until("the server evicts the circuit", gone)


def write_junk(admin: redis.Redis) -> None:
    """Write what is used as rarely as a circuit within the second in which an eviction tells no difference."""
    with admin.pipeline(transaction=False) as pipeline:
        for _ in range(JUNK):
            pipeline.set(f"junk:{random.random()}", b"x" * 10_000)
        pipeline.execute()


def empty(scene: Scene) -> None:
    """Give the server all memory again, and delete what fills it."""
    with scene.place.admin() as admin:
        admin.config_set("maxmemory", 0)
        admin.config_set("notify-keyspace-events", "")
        admin.delete(*admin.keys("junk:*"))

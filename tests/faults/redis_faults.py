"""What happens to one Redis server."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import servers

from faults.fault import Effect, Fault, Scene
from faults.lost_data import empty, fill, key, kill, kill_and_lose_dump, save_and_go_on, start, start_in_the_past
from faults.old_redis import OLD_REDIS, no_old_redis, write_after_time
from faults.places import REDIS, TLS
from faults.tls import (
    certificate_of_another_host,
    expired_certificate,
    other_certificate,
    right_certificate,
    without_tls,
)
from faults.worker_faults import close_circuit, mend_backend, open_circuit

if TYPE_CHECKING:
    from collections.abc import Callable

#: What pybreaker has keys for, and the fields of our hash.
KEYS = ("state", "fail_counter", "success_counter", "opened_at")
FIELDS = ("generation", "open_until", "opened_at", "trips", "reason", "permits", "state", "opened")
#: Seconds.
PAUSED = 12


def command(*words: str | int) -> Callable[[Scene], None]:
    """Return what sends the server a command."""

    def send(scene: Scene) -> None:
        with scene.place.admin() as admin:
            admin.execute_command(*words)

    return send


def in_turn(*steps: Callable[[Scene], None]) -> Callable[[Scene], None]:
    def all_steps(scene: Scene) -> None:
        for step in steps:
            step(scene)

    return all_steps


def pause(scene: Scene) -> None:
    scene.place.server.pause()


def resume(scene: Scene) -> None:
    scene.place.server.resume()


def answers_again(scene: Scene) -> None:
    """Wait for the end of a pause in which the server obeys nobody, not even who would end it."""
    with scene.place.server.client(socket_timeout=2 * PAUSED) as client:
        client.ping()


cut_off = command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def lock_out(scene: Scene) -> None:
    with scene.place.admin() as admin:
        admin.config_set("requirepass", "another")
    scene.place.password = "another"
    cut_off(scene)


def let_in(scene: Scene) -> None:
    with scene.place.admin() as admin:
        admin.config_set("requirepass", "")
    scene.place.password = None


def spoil(scene: Scene) -> None:
    """Write garbage into each key, and into each field of the hash."""
    with scene.place.admin() as admin, admin.pipeline(transaction=False) as pipeline:
        for name in KEYS:
            pipeline.set(key(scene, name), b"\xff garbage \x00")
        for name in FIELDS:
            pipeline.hset(key(scene, "ext"), name, b"\xff garbage,\x00:")
        pipeline.xadd(key(scene, "history"), {"at": b"\xff", "from": "here", "to": "there"})
        pipeline.execute()


def replace(scene: Scene) -> None:
    """Make lists of all keys."""
    with scene.place.admin() as admin, admin.pipeline() as pipeline:
        for name in (*KEYS, "ext", "history"):
            pipeline.delete(key(scene, name))
            pipeline.rpush(key(scene, name), "a", "b")
        pipeline.execute()


def forget_history(scene: Scene) -> None:
    """A history of another type is written no more until somebody deletes it; all else mends itself."""
    with scene.place.admin() as admin:
        admin.delete(key(scene, "history"))


def become_replica(scene: Scene) -> None:
    with scene.place.admin() as admin:
        admin.replicaof("127.0.0.1", servers.free_port())


once: Any = functools.partial(Fault, kind=REDIS)
shared: Any = functools.partial(once, effect=Effect.SHARED, again=True)


def bad_certificate(name: str, use: Callable[[Scene], None], *, quick: bool = True) -> Fault:
    return Fault(
        name,
        kind=TLS,
        breaks=in_turn(kill, use, start),
        mends=in_turn(kill, right_certificate, start),
        impossible=without_tls,
        quick=quick,
        lasting=False,
        allows=r"ResourceWarning: unclosed <ssl\.SSLSocket",  # redis-py's, when the handshake fails at the other end
    )


FAULTS = (
    once("killed with SIGKILL, restarted empty", breaks=kill_and_lose_dump, mends=start),
    once("stopped with SIGSTOP: it hangs, and refuses nothing", breaks=pause, mends=resume),
    once(
        "killed, restarted from a dump from before the circuit opened",
        breaks=save_and_go_on(in_turn(open_circuit, close_circuit), in_turn(open_circuit, mend_backend)),
        mends=start_in_the_past,
    ),
    once(
        "killed, restarted from a dump from when the circuit was open",
        breaks=save_and_go_on(open_circuit, close_circuit),
        mends=start_in_the_past,
        quick=False,
    ),
    shared("FLUSHALL", breaks=command("FLUSHALL")),
    shared("SCRIPT FLUSH", breaks=command("SCRIPT", "FLUSH"), sound=True, quick=False),
    shared("CLIENT KILL of all clients", breaks=cut_off, effect=Effect.EITHER, sound=True),
    once(
        "CLIENT PAUSE of writes",
        breaks=command("CLIENT", "PAUSE", 600_000, "WRITE"),
        mends=command("CLIENT", "UNPAUSE"),
    ),
    once(
        f"CLIENT PAUSE of everything for {PAUSED} s",
        breaks=command("CLIENT", "PAUSE", 1000 * PAUSED, "ALL"),
        mends=answers_again,
        quick=False,
    ),
    once(
        "maxmemory is reached, noeviction",
        breaks=command("CONFIG", "SET", "maxmemory", 1),
        mends=command("CONFIG", "SET", "maxmemory", 0),
        quick=False,
    ),
    shared(
        "maxmemory is reached, allkeys-lru",
        breaks=fill,
        mends=empty,
    ),
    once(
        "a replica that takes no writes",
        breaks=become_replica,
        mends=command("REPLICAOF", "NO", "ONE"),
        quick=False,
    ),
    once("another password", breaks=lock_out, mends=let_in),
    once(
        "an ACL without a needed command",
        breaks=command("ACL", "SETUSER", "default", "-hset"),
        mends=command("ACL", "SETUSER", "default", "+@all"),
        prepares=command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all"),
    ),
    shared("each key is of the wrong type", breaks=replace, mends=forget_history, says="not understood"),
    shared("garbage in every key and field", breaks=spoil, says="not understood"),
    bad_certificate("a certificate that nobody trusts", other_certificate),
    bad_certificate("a certificate that has expired", expired_certificate, quick=False),
    bad_certificate("a certificate of another host", certificate_of_another_host, quick=False),
    once(
        "a server older than Redis 5",
        kind=OLD_REDIS,
        breaks=write_after_time(0),
        mends=write_after_time(1),
        impossible=no_old_redis,
        lasting=False,
        says="needs Redis 5 or newer",
    ),
)

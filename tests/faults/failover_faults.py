"""What happens to several Redis servers that stand for each other: Sentinel's, and a Cluster's."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from faults import board
from faults.fault import Effect, Fault, Scene
from faults.patience import NeverError, wait_until
from faults.places import CLUSTER, SENTINELS
from faults.worker_faults import LEASE, LOOPING, THREADED, open_circuit

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    import servers


def cluster_key(scene: Scene) -> str:
    return f"{{{scene.traffic.name}}}:pybreaker:state"


def primary(scene: Scene) -> servers.RedisServer:
    found: servers.RedisServer
    if hasattr(scene.place, "cluster"):
        found = scene.place.cluster.primary_of(cluster_key(scene))
    else:
        found = scene.place.sentinels.primary
    return found


def lose_primary(how: str) -> Callable[[Scene], None]:
    def lose(scene: Scene) -> None:
        scene.notes["lost"] = primary(scene)
        getattr(scene.notes["lost"], how)()

    return lose


def generation(scene: Scene, server: servers.RedisServer) -> int:
    with server.client() as client:
        return int(client.hget(f"{scene.traffic.name}:pybreaker:ext", "generation") or 0)


def wait_for_another(scene: Scene) -> None:
    wait_until("another server is the primary", lambda: primary(scene) is not scene.notes["lost"], pause=0.1)


def bring_back(how: str) -> Callable[[Scene], None]:
    """Return what brings the lost server back when another has taken its place; it becomes a replica."""

    def back(scene: Scene) -> None:
        wait_for_another(scene)
        getattr(scene.notes.pop("lost"), how)()

    return back


def lose_writes_in_half_open(scene: Scene) -> None:
    """The primary acknowledges that a probe is out, and dies before its replica hears of it.

    What the primary sends to a replica that is stopped would wait there; so the primary hangs up first. The
    probe ends when the new primary is there, which knows nothing of it.
    """
    traffic, lost = scene.traffic, primary(scene)
    (replica,) = [server for server in scene.place.sentinels.servers if server is not lost]
    open_circuit(scene)
    replica.pause()
    with lost.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    for number in (THREADED, LOOPING):
        traffic.board.order(number, board.STOP)
    wait_until("a probe is out", lambda: any(traffic.is_stopped(number) for number in (THREADED, LOOPING)))
    acknowledged = generation(scene, lost)
    lost.kill()
    replica.resume()
    if generation(scene, replica) >= acknowledged:
        raise NeverError("the replica lacked what the primary had acknowledged")
    scene.notes["lost"] = lost
    wait_for_another(scene)
    for number in (THREADED, LOOPING):
        traffic.board.order(number, 0)
        traffic.resume(number)


def move_slot(scene: Scene) -> None:
    """Move the circuit's slot to another primary, as redis-cli does; there is traffic at each step."""
    cluster, key = scene.place.cluster, cluster_key(scene)
    source = cluster.primary_of(key)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    with source.client() as here, target.client() as there:
        slot, ids = here.cluster("keyslot", key), [client.cluster("myid").decode() for client in (here, there)]
        there.cluster("setslot", slot, "importing", ids[0])
        here.cluster("setslot", slot, "migrating", ids[1])
        scene.traffic.some_calls()
        _move_keys(here, target, slot)
        scene.traffic.some_calls()
        for client in (there, here):
            client.cluster("setslot", slot, "node", ids[1])
    wait_until("another node has the slot", lambda: cluster.primary_of(key) is target)


def _move_keys(here: redis.Redis, target: servers.RedisServer, slot: int) -> None:
    """Some of the keys first: a script that needs all of them is told to try again."""
    while names := here.cluster("getkeysinslot", slot, 2):
        for name in names:
            here.migrate("127.0.0.1", target.port, name, 0, 5000)


#: redis-py drops nodes that it has met while it looked for a cluster in vain; they are closed when they are
#: collected, which Python tells of. That none of them stays is seen by the count of files.
DROPPED_NODES = "ResourceWarning: (Unclosed ClusterNode|unclosed Connection|unclosed <StreamWriter|unclosed <socket)"

once: Any = functools.partial(Fault, effect=Effect.EITHER, allows=DROPPED_NODES)

FAULTS = (
    once("the primary is killed", kind=SENTINELS, breaks=lose_primary("kill"), mends=bring_back("start"), quick=False),
    once(
        "the primary is stopped", kind=SENTINELS, breaks=lose_primary("pause"), mends=bring_back("resume"), quick=False
    ),
    once(
        "a failover while a probe is out loses acknowledged writes",
        kind=SENTINELS,
        breaks=lose_writes_in_half_open,
        mends=bring_back("start"),
        bound=10 * LEASE,
    ),
    once("the circuit's node is killed", kind=CLUSTER, breaks=lose_primary("kill"), mends=bring_back("start")),
    once(
        "the circuit's node is stopped",
        kind=CLUSTER,
        breaks=lose_primary("pause"),
        mends=bring_back("resume"),
        quick=False,
    ),
    once("the circuit's slot is moved", kind=CLUSTER, breaks=move_slot, again=True),
)

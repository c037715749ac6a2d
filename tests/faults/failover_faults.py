"""What happens to several Redis servers that stand for each other: Sentinel's, and a Cluster's."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import redis
import servers
from moving import Move
from servers import Sentinels

from faults import board
from faults.fault import Effect, Fault, Scene
from faults.patience import NeverError, wait_until
from faults.places import CLUSTER, SENTINELS
from faults.worker_faults import LEASE, LOOPING, THREADED, open_circuit

if TYPE_CHECKING:
    from collections.abc import Callable


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
    key = f"{scene.traffic.name}:pybreaker:ext"
    return int(answer_of(server, lambda client: client.hget(key, "generation")) or 0)


def answer_of(server: servers.RedisServer, question: Callable[[redis.Redis], Any]) -> Any:
    """Ask until the server answers: sentinels cut all connections to one whose role they change."""
    answers: list[Any] = []

    def answered() -> bool:
        with contextlib.suppress(redis.ConnectionError), server.client() as client:
            answers.append(question(client))
        return bool(answers)

    wait_until("a server answers", answered)
    return answers[0]


def wait_for_another(scene: Scene) -> None:
    """Wait until all who may be asked name another server: whoever doesn't would lead workers astray."""
    lost = scene.notes["lost"]
    wait_until("another server is the primary", lambda: lost not in primaries_named(scene, lost), pause=0.1)


def primaries_named(scene: Scene, lost: servers.RedisServer) -> list[servers.RedisServer]:
    """Return which server is the primary, as each sentinel says, or each node that isn't lost."""
    place = scene.place
    if hasattr(place, "cluster"):
        nodes = [node for node in place.cluster.nodes if node is not lost]
        return [place.cluster.primary_of(cluster_key(scene), asked=node) for node in nodes]
    return [Sentinels([sentinel], place.sentinels.servers).primary for sentinel in place.sentinels.sentinels]


def bring_back(how: str) -> Callable[[Scene], None]:
    """Return what brings the lost server back when another has taken its place; it becomes a replica.

    Until then it takes itself for the primary, with all that was ever written to it, or with nothing. Sentinels
    that miss the other one's answers for a moment may make it the primary again, and the other one its replica.
    """

    def back(scene: Scene) -> None:
        wait_for_another(scene)
        lost = scene.notes.pop("lost")
        getattr(lost, how)()
        pair = [lost] if hasattr(scene.place, "cluster") else scene.place.sentinels.servers
        wait_until("the server that is back is a replica", lambda: any(map(is_replica, pair)), pause=0.1)

    return back


def is_replica(server: servers.RedisServer) -> bool:
    found = answer_of(server, lambda client: client.info("replication"))
    return bool(found.get("master_link_status") == "up")


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
    """Move the circuit's slot to another primary, some keys first: a script that needs all is told to try again."""
    move = Move(scene.place.cluster, cluster_key(scene))
    move.begin()
    scene.traffic.some_calls()
    while move.keys(number=1):
        pass
    scene.traffic.some_calls()
    move.end()


def begin_to_move(scene: Scene) -> None:
    """Move all keys of a circuit that has been open, which are all that there can be; the slot stays where it is."""
    open_circuit(scene)
    scene.traffic.board.sick = False
    scene.traffic.closes()
    scene.notes["move"] = move = Move(scene.place.cluster, cluster_key(scene))
    move.begin()
    move.keys()


def end_move(scene: Scene) -> None:
    scene.notes.pop("move").end()


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
    once(
        "the circuit's slot is being moved, and its keys are there already",
        kind=CLUSTER,
        breaks=begin_to_move,
        mends=end_move,
        effect=Effect.SHARED,
        sound=True,
    ),
)

"""The servers that other tests build on: they are what they say, fail over, and leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import servers
from fleet import until
from redis.sentinel import Sentinel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_redis_program")

#: Seconds within which a dead primary must have been replaced; it takes about 2.
FAILOVER = 30


def test_every_node_of_the_cluster_answers_and_knows_all_others(redis_cluster: servers.Cluster) -> None:
    for node in redis_cluster.nodes:
        with node.client() as client:
            info = client.cluster("info")
        assert (info["cluster_state"], info["cluster_size"], info["cluster_known_nodes"]) == ("ok", "3", "6")


def test_the_clusters_keys_lie_on_all_primaries(redis_cluster: servers.Cluster) -> None:
    keys = [f"tests/servers/{number}" for number in range(20)]
    with redis_cluster.client() as client:
        for key in keys:
            client.set(key, key)
        assert [client.get(key) for key in keys] == [key.encode() for key in keys]
    assert {redis_cluster.primary_of(key).port for key in keys} == {node.port for node in redis_cluster.nodes[:3]}


def test_a_replica_takes_a_dead_primarys_place() -> None:
    with servers.running_cluster(3, replicas=1) as cluster:
        primary, replica = cluster.holders_of("key")
        with primary.client() as client:
            client.set("key", "value")
            assert client.wait(1, 10_000) == 1
        primary.kill()
        until(lambda: cluster.primary_of("key") is replica, FAILOVER, pause=0.02)
        with cluster.client() as client:
            assert client.get("key") == b"value"


def test_the_sentinels_make_a_replica_the_primary() -> None:
    with servers.running_sentinels() as sentinels:
        primary = sentinels.primary
        with primary.client() as client:
            client.set("key", "value")
            assert client.wait(1, 10_000) == 1
        primary.kill()
        until(lambda: sentinels.primary is not primary, FAILOVER, pause=0.02)
        known = Sentinel([("127.0.0.1", sentinel.port) for sentinel in sentinels.sentinels])
        with known.master_for("main") as client:
            assert client.get("key") == b"value"
        for sentinel in known.sentinels:
            sentinel.close()


def test_nothing_is_left_of_a_cluster_whose_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), servers.running_cluster(3, replicas=1) as cluster:
        cluster.nodes[0].pause()
        _ = 1 / 0
    assert [node.process.poll() is None for node in cluster.nodes] == [False] * 6


def test_somebody_elses_server_is_not_used(redis_server: servers.RedisServer, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="belongs to another"):
        servers.RedisServer(servers.redis_server_program(), str(tmp_path), port=redis_server.port)
    with redis_server.client() as client:
        assert client.ping()


def test_addresses(redis_cluster: servers.Cluster, redis_sentinels: servers.Sentinels) -> None:
    nodes = ",".join(f"127.0.0.1:{node.port}" for node in redis_cluster.nodes)
    assert redis_cluster.url == f"redis+cluster://{nodes}"
    assert redis_sentinels.url.startswith("redis+sentinel://127.0.0.1:")
    assert redis_sentinels.url.endswith("/main/0")

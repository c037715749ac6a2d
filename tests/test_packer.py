"""Our packer says to the server what redis-py's own would say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection

from pybreaker_ext import CircuitBreaker, CircuitRedisStorage
from pybreaker_ext.storage.packer import REMEMBERED, Packer, packer_for

if TYPE_CHECKING:
    import pytest
    import redis
    from servers import RedisServer

theirs = Connection()._command_packer.__class__(6000, Connection().encoder.encode)
ours = Packer(Connection().encoder.encode)

BYTES = st.binary(max_size=20)
ARGUMENTS = st.one_of(BYTES, st.text(max_size=10), st.integers(), st.floats(allow_nan=False))


@given(program=BYTES, keys=st.lists(BYTES, max_size=5), first=BYTES, last=BYTES)
def test_our_own_command(program: bytes, keys: list[bytes], first: bytes, last: bytes) -> None:
    command = ("EVALSHA", program, len(keys), *keys, first, last)
    for _ in range(2):  # the second time from memory
        assert b"".join(ours.pack(*command)) == b"".join(theirs.pack(*command))


@given(
    name=st.sampled_from(["GET", "CLIENT SETINFO", "EVAL", "AUTH", "EVALSHA"]),
    arguments=st.lists(ARGUMENTS, min_size=2, max_size=5),
)
def test_any_other(name: str, arguments: list[object]) -> None:
    assert b"".join(ours.pack(name, *arguments)) == b"".join(theirs.pack(name, *arguments))


def test_what_is_remembered_does_not_pile_up() -> None:
    packer = Packer(Connection().encoder.encode)
    for number in range(3 * REMEMBERED):
        packer.pack("EVALSHA", b"program", 1, b"%d" % number, b"", b"")
    assert 0 < len(packer._beginnings) <= REMEMBERED


def test_a_faster_packer_or_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybreaker_ext.storage.packer.HIREDIS_AVAILABLE", False)
    assert list(packer_for({})) == ["command_packer"]
    assert packer_for({"command_packer": theirs}) == {}
    monkeypatch.setattr("pybreaker_ext.storage.packer.HIREDIS_AVAILABLE", True)
    assert packer_for({}) == {}


def test_the_users_own_client_keeps_its_packer(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        storage = CircuitRedisStorage("closed", client, "n")
        CircuitBreaker(state_storage=storage).call(int)
        assert "command_packer" not in client.connection_pool.connection_kwargs
        own: redis.Redis = storage._link._own
        assert own is not client

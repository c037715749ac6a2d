"""What a newcomer does wrong, and is told: what is wrong, and what to do instead."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
import servers

import pybreaker_ext
from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerRegistry,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    CircuitSQLiteStorage,
    cli,
    get_circuit_breaker,
    listeners,
)
from pybreaker_ext.storage.redis_urls import in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Longer messages are not read.
READABLE = 330


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379", "begin with memory://, sqlite:///file.db, redis://"),
        ("http://localhost:6379", "begin with memory://, sqlite:///file.db, redis://"),
        ("redis:/localhost", "begin with memory://, sqlite:///file.db, redis://"),
        ("redis://localhost:port/0", "a port up to 65535"),
        ("redis://localhost:6379/zero", "the database's number after the host, as redis://localhost:6379/0 does"),
        ("sqlite://circuits.db", "with three or four slashes"),
        ("sqlite:circuits.db", "sqlite:///file.db"),
        ("redis+sentinel://localhost:26379", "name a service and perhaps a database, as redis+sentinel://host:26379/"),
        ("", "begin with memory://, sqlite:///file.db, redis://"),
    ],
)
def test_a_wrong_url(url: str, told: str) -> None:
    with pytest.raises(ValueError, match="url must") as caught:
        get_circuit_breaker(url, name="payments")
    assert told in str(caught.value)
    assert f"it is {url!r}" in str(caught.value)
    assert len(str(caught.value)) < READABLE


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            lambda: CircuitRedisStorage("closed", redis.asyncio.Redis()),
            "asyncio programs get a client of their own, made from its settings",
        ),
        (
            lambda: CircuitBreakerRegistry(client=redis.asyncio.Redis()),
            "asyncio programs get a client of their own, made from its settings",
        ),
        (lambda: CircuitRedisStorage("closed", "redis://me:secret@host"), "get_circuit_breaker(url, name) takes URLs"),
        (lambda: CircuitRedisStorage("closed", object()), "not <object object at "),
        (
            lambda: get_circuit_breaker(redis.Redis(password="secret")),
            "CircuitBreakerRegistry(client=...) takes a client",
        ),
        (lambda: CircuitBreaker(state_storage=CircuitMemoryStorage), "did you mean CircuitMemoryStorage(...)?"),
        (lambda: CircuitBreaker(state_storage="redis://me:secret@host"), "makes a breaker by URL"),
        (
            lambda: CircuitBreaker(state_storage=redis.Redis(password="secret")),
            'CircuitRedisStorage("closed", client, namespace="...") is one',
        ),
        (lambda: CircuitBreaker("payments"), "fail_max must be a whole number of at least 1, not 'payments'"),
        (lambda: get_circuit_breaker("memory://", name="a", fail_maxx=3), "fail_maxx is no setting"),
    ],
)
def test_a_wrong_argument(wrong: Callable[[], Any], told: str) -> None:
    with pytest.raises(TypeError) as caught:
        wrong()
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < READABLE


def test_arguments_in_the_wrong_order() -> None:
    with pytest.raises(
        ValueError, match="state must be 'closed', 'open' or 'half-open', not an object of redis"
    ) as caught:
        CircuitRedisStorage(redis.Redis(password="secret"), "closed")  # type: ignore[arg-type]
    assert len(str(caught.value)) < READABLE


def test_a_url_where_a_path_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"no URL, which get_circuit_breaker\(url, name\) takes"):
        CircuitSQLiteStorage("sqlite:///circuits.db", "payments")


def test_the_same_name_with_other_settings() -> None:
    with CircuitBreakerRegistry("memory://") as registry:
        registry.get("payments", fail_max=3)
        with pytest.raises(ValueError, match="fail_max is 3, not 4. Give the same, or leave it out"):
            registry.get("payments", fail_max=4)


def test_an_async_function_on_a_client_for_threads_is_no_mistake(redis_server: servers.RedisServer) -> None:
    import asyncio

    async def five() -> int:
        return 5

    with redis_server.client() as client:
        breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "payments"))
        assert asyncio.run(breaker(five)()) == 5
        assert client.exists("payments:pybreaker:state")


def test_no_redis_is_one_warning_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    port = servers.free_port()
    breaker = get_circuit_breaker(f"redis://127.0.0.1:{port}/0", name="payments")
    with caplog.at_level(logging.WARNING):
        assert [breaker.call(int) for _ in range(3)] == [0, 0, 0]
    (record,) = caplog.records
    assert f"store is away, each process decides by itself: Redis at 127.0.0.1:{port}" in record.getMessage()
    assert "refused" in record.getMessage()
    pybreaker_ext.reset_all_breakers()


def test_no_redis_on_the_command_line(capsys: Any) -> None:
    url = f"redis://127.0.0.1:{servers.free_port()}/0"
    for command in (["list"], ["demo"], ["bench"]):
        assert cli.main([*command, "--url", url]) in (2, 3)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.endswith("Connection refused. Is a Redis running there?\n")


def test_a_password_that_is_missing_or_wrong(capsys: Any) -> None:
    with servers.running_redis() as server, server.client() as client:
        client.config_set("requirepass", "right")
        for user in ("", ":wrong@"):
            assert cli.main(["list", "--url", server.url.replace("redis://", f"redis://{user}")]) == 3
            shown = capsys.readouterr().err
            assert "User and password stand before the host: redis://user:password@host" in shown
            assert "wrong" not in shown


@pytest.mark.parametrize(
    ("missing", "module", "extra", "wrong"),
    [
        ("pydantic", "pybreaker_ext.config", "settings", lambda: CircuitBreakerRegistry.from_settings({})),
        (
            "prometheus_client",
            "pybreaker_ext.listeners.prometheus",
            "prometheus",
            lambda: listeners.PrometheusListener,
        ),
        (
            "opentelemetry",
            "pybreaker_ext.listeners.opentelemetry",
            "otel",
            lambda: listeners.OpenTelemetryListener,
        ),
    ],
)
def test_an_extra_that_is_missing(
    missing: str, module: str, extra: str, wrong: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in [known for known in sys.modules if known == module or known.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as caught:
        wrong()
    assert f'pip install "pybreaker-ext[{extra}]"' in str(caught.value)


def test_a_file_in_a_directory_that_is_not_there(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["demo", "--url", f"sqlite:///{tmp_path}/missing/circuits.db"]) == 2
    assert "is its directory there, and writable?" in capsys.readouterr().err


def test_a_server_that_does_not_know_a_command_tells_no_password() -> None:
    error = redis.ResponseError("unknown command `HELLO`, with args beginning with: `3` `AUTH` `me` `secret`")
    assert in_words(error) == "unknown command `HELLO`, with args beginning with: ..."


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("Timeout reading from socket", "Timeout reading from socket. Is it there, and can it be reached from here?"),
        (
            f"You can't write against a read only replica. script: {'e11d' * 10}, on @user_script:478.",
            "You can't write against a read only replica.",
        ),
    ],
)
def test_what_a_server_says_is_a_sentence(told: str, words: str) -> None:
    assert in_words(redis.RedisError(told)) == words

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage, CircuitRedisStorage, CircuitSQLiteStorage
from pybreaker_ext.storage import Storage
from pybreaker_ext.storage.urls import from_url, redis_client, without_password

if TYPE_CHECKING:
    import servers


def settings_of(url):
    return redis_client(url).connection_pool.connection_kwargs


def test_every_storage_has_the_one_verb():
    for url in ("memory://", "sqlite:///file.db", "redis://localhost", "rediss://localhost", "unix:///run/redis.sock"):
        assert isinstance(from_url(url, "payments"), Storage)


def test_memory_circuits_are_each_their_own():
    """Nothing but the storage object can name a circuit in memory."""
    first, second = from_url("memory://", "payments"), from_url("memory://", "payments")
    assert isinstance(first, CircuitMemoryStorage)
    CircuitBreaker(state_storage=first).open()
    assert CircuitBreaker(state_storage=second).current_state == "closed"


def test_a_sqlite_file_is_shared_by_all_who_name_it(tmp_path):
    url = f"sqlite:///{tmp_path}/circuits.db"
    CircuitBreaker(state_storage=from_url(url, "payments")).open()
    assert CircuitBreaker(state_storage=from_url(url, "payments")).current_state == "open"
    assert CircuitBreaker(state_storage=from_url(url, "search")).current_state == "closed"
    assert (tmp_path / "circuits.db").exists()


def test_three_slashes_begin_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = from_url("sqlite:///circuits.db", "payments")
    assert isinstance(storage, CircuitSQLiteStorage)
    CircuitBreaker(state_storage=storage).open()
    assert (tmp_path / "circuits.db").exists()


def test_a_sqlite_files_name_may_be_quoted(tmp_path):
    CircuitBreaker(state_storage=from_url(f"sqlite:///{tmp_path}/100%25%3F.db", "payments")).open()
    assert (tmp_path / "100%?.db").exists()


def test_making_a_storage_does_no_io(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from_url("sqlite:///circuits.db", "payments")
    from_url("redis://127.0.0.1:1/0", "payments")  # nobody listens there
    assert list(Path(tmp_path).iterdir()) == []


def test_a_redis_circuits_name_is_its_namespace(redis_server: servers.RedisServer):
    storage = from_url(redis_server.url, "payments")
    assert isinstance(storage, CircuitRedisStorage)
    CircuitBreaker(state_storage=storage).open()
    with redis_server.client() as client:
        assert client.get("payments:pybreaker:state") == b"open"


def test_a_redis_url_has_short_timeouts():
    settings = settings_of("redis://localhost:6379/0")
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (0.25, 0.25)


def test_nothing_is_sent_twice():
    assert settings_of("redis://localhost:6379/0?retry_on_timeout=yes")["retry"].get_retries() == 0


def test_a_redis_urls_own_options_rule():
    settings = settings_of(
        "rediss://user:secret@host:1234/5?socket_timeout=3&socket_connect_timeout=2&ssl_cert_reqs=none"
    )
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (3.0, 2.0)
    assert (settings["host"], settings["port"], settings["db"]) == ("host", 1234, 5)
    assert (settings["username"], settings["password"]) == ("user", "secret")
    assert settings["ssl_cert_reqs"] == "none"


def test_a_unix_socket_takes_redis_pys_options():
    settings = settings_of("unix:///run/redis.sock?db=2&decode_responses=yes")
    assert (settings["path"], settings["db"]) == ("/run/redis.sock", 2)


def test_circuits_of_one_url_share_a_client():
    first, second = from_url("redis://localhost/3", "payments"), from_url("redis://localhost/3", "search")
    assert first._redis is second._redis
    assert first._redis is not from_url("redis://localhost/4", "payments")._redis


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("", "begin with memory://, sqlite:///file.db, redis://, rediss:// or unix://"),
        ("payments", "begin with"),
        ("redis:localhost", "begin with"),
        ("mysql://localhost/db", "begin with"),
        ("REDIS://localhost", "begin with"),
        ("memory://payments", "nothing after memory://"),
        ("sqlite://", "name a file"),
        ("sqlite:///", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("sqlite:///a%00b", "name a file"),
        ("sqlite://file.db", "three or four slashes"),
        ("sqlite:///file.db?mode=ro", "no options"),
        ("sqlite:///file.db#1", "no options"),
        ("redis://localhost:port/0", "valid host, and a port"),
        ("redis://localhost:70000/0", "valid host, and a port"),
        ("redis://[::1/0", "valid host, and a port"),
        ("redis://localhost/zero", "database's number"),
        ("redis://localhost/0/1", "database's number"),
        ("redis://localhost?db=zero", "redis-py's options only"),
        ("redis://localhost?colour=red", "redis-py's options only"),
        ("redis://localhost?max_connections=-1", "redis-py's options only"),
        ("redis://localhost?socket_timeout=0", "socket_timeout of seconds above 0"),
        ("redis://localhost?socket_connect_timeout=-1", "socket_connect_timeout of seconds above 0"),
        ("redis://localhost?socket_timeout=nan", "socket_timeout of seconds above 0"),
        ("unix://", "name a socket"),
        ("unix:///?db=1", "name a socket"),
    ],
)
def test_a_bad_url_is_named_with_what_is_allowed(url, allowed):
    with pytest.raises(ValueError, match=r"^url must ") as caught:
        from_url(url, "payments")
    assert allowed in str(caught.value)
    assert str(caught.value).endswith(f"; it is {url!r}")


@pytest.mark.parametrize("url", [None, 7, b"memory://", Path("file.db")])
def test_a_url_is_a_text(url):
    with pytest.raises(TypeError, match=r"^url must be a text, not "):
        from_url(url, "payments")


def test_a_name_is_a_text_with_characters():
    with pytest.raises(TypeError, match=r"^name must be a text, not 7$"):
        from_url("memory://", 7)
    with pytest.raises(ValueError, match=r"^name must have at least one character, and it is ''$"):
        from_url("memory://", "")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@host/db",
        "redis://:secret@localhost:port/0",
        "redis://user:se/cret@localhost",
        "redis://user:se?cret@localhost",
        "redis://user:se@cret@localhost?colour=red",
        "redis://[user:secret@localhost",
        "redis:user:secret@localhost",
        "user:secret@localhost",
        "redis://localhost?password=secret&colour=red",
        "unix://?db=1&password=secret",
        "rediss://localhost?ssl_password=secret&colour=red",
    ],
)
def test_no_error_tells_a_password(url):
    """Neither the message nor what a traceback would show as its cause."""
    with pytest.raises(ValueError, match=r"^url must ") as caught:
        from_url(url, "payments")
    error = caught.value
    shown = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
    assert not [part for part in shown if part is not None and ("secret" in str(part) or "cret" in str(part))]


def test_what_is_no_secret_stays_readable():
    assert without_password("redis://user:secret@host:1/0?db=1") == "redis://***@host:1/0?db=1"
    assert without_password("redis://host:1/0?password=x&db=1") == "redis://host:1/0?password=***&db=1"
    assert without_password("sqlite:////var/lib/file.db") == "sqlite:////var/lib/file.db"

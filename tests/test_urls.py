from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage, CircuitRedisStorage, CircuitSQLiteStorage
from pybreaker_ext.cli import store
from pybreaker_ext.cli.store import Store
from pybreaker_ext.storage import Storage, redis_urls
from pybreaker_ext.storage.redis_urls import redis_client, without_password
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    import servers


def settings_of(url):
    return redis_client(url).connection_pool.connection_kwargs


def test_every_storage_has_the_one_verb():
    for url in (
        "memory://",
        "sqlite:///file.db",
        "redis://localhost",
        "rediss://localhost",
        "unix:///run/redis.sock",
        "redis+cluster://localhost",
        "rediss+cluster://localhost:7000,localhost:7001",
        "redis+sentinel://localhost/main",
        "rediss+sentinel://localhost:5000,localhost:5001/main/2",
    ):
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
    for url in ("redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/main"):
        from_url(url, "payments")  # nobody listens there
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


def test_a_clusters_url():
    cluster = redis_client("redis+cluster://me:secret@a:7000,[::1]:7001,b?socket_timeout=0.2&max_connections=7")
    assert cluster.nodes == (("a", 7000), ("::1", 7001), ("b", 6379))
    assert cluster.settings == {
        "username": "me",
        "password": "secret",
        "socket_timeout": 0.2,
        "socket_connect_timeout": 0.25,
        "max_connections": 7,
    }


@pytest.mark.parametrize(
    "url",
    ["redis+cluster://me@a:7000,[::1]:7001,[fe80::2]", "redis+sentinel://a:1,[::1]:2/main?socket_timeout=1"],
)
def test_several_hosts_of_which_one_is_in_brackets(monkeypatch, url):
    """Newer Pythons take brackets around a single host only."""

    def strict(text, *args, **kwargs):
        authority = text.partition("//")[2].partition("/")[0].partition("?")[0]
        host = authority.rpartition("@")[2]
        if "[" in host and not re.fullmatch(r"\[[^\]]*\](:\d*)?", host):
            message = "Invalid IPv6 URL"
            raise ValueError(message)
        return urlsplit(text, *args, **kwargs)

    for module in (redis_urls, store):
        monkeypatch.setattr(module, "urlsplit", strict, raising=False)
    assert Store(url).where == without_password(url)


def test_a_clusters_url_with_tls():
    settings = redis_client("rediss+cluster://a?ssl_cert_reqs=none").settings
    assert (settings["ssl"], settings["ssl_cert_reqs"]) == (True, "none")


def test_a_sentinels_url():
    client = redis_client("redis+sentinel://me:secret@a:5000,b/main%20one/3?sentinel_password=other&socket_timeout=0.2")
    pool = client.connection_pool
    assert (pool.service_name, pool.is_master) == ("main one", True)
    settings = pool.connection_kwargs
    assert (settings["username"], settings["password"], settings["db"]) == ("me", "secret", 3)
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (0.2, 0.25)
    assert settings["retry"].get_retries() == 0
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("a", 5000), ("b", 26379)]
    for each in asked:
        assert (each["username"], each["password"]) == (None, "other")
        assert (each["socket_timeout"], each["socket_connect_timeout"]) == (0.2, 0.25)
        assert each["retry"].get_retries() == 0


def test_a_sentinels_url_with_tls():
    pool = redis_client("rediss+sentinel://a/main?ssl_cert_reqs=none").connection_pool
    assert pool.connection_class.__name__ == "SentinelManagedSSLConnection"
    (sentinel,) = pool.sentinel_manager.sentinels
    assert sentinel.connection_pool.connection_class.__name__ == "SSLConnection"
    assert sentinel.connection_pool.connection_kwargs["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("claude", "{claude}"),
        ("{claude}", "{%7Bclaude%7D}%"),
        ("{%7Bclaude%7D}", "{%7B%257Bclaude%257D%7D}%"),
        ("}", "{%7D}%"),
        ("100%", "{100%}"),
    ],
)
def test_on_a_cluster_a_name_is_its_hash_tag(name, prefix):
    storage = from_url("redis+cluster://localhost", name)
    assert storage._keys[0].decode() == f"{prefix}:pybreaker:state"


@given(names=st.lists(st.text("a{}%7BD", min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_on_a_cluster_no_two_names_share_keys_and_each_has_one_slot(names):
    first, second = (from_url("redis+cluster://localhost", name)._keys for name in names)
    assert set(first).isdisjoint(second)
    assert len({key_slot(key) for key in first}) == 1


@pytest.mark.parametrize("url", ["memory://", "sqlite:///file.db", "redis://localhost", "redis+cluster://localhost"])
def test_what_every_storage_is_told(url):
    with pytest.raises(ValueError, match="fallback_circuit_state must be 'closed', 'open' or 'half-open', not 'shut'"):
        from_url(url, "payments", fallback_circuit_state="shut")
    with pytest.raises(ValueError, match="key_ttl must be a finite number of seconds above 0, or None, not 0"):
        from_url(url, "payments", key_ttl=0)
    from_url(url, "payments", fallback_circuit_state="open", key_ttl=60)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (
            "",
            "begin with memory://, sqlite:///file.db, redis://, rediss://, unix://, redis+cluster:// or redis+sentinel",
        ),
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
        ("redis://localhost?encoding=utf-16", "no encoding"),
        ("redis://localhost?cache_config=1", "redis-py's options only"),
        ("redis://localhost?credential_provider=x", "no credential_provider"),
        ("redis://localhost?redis_connect_func=x", "no redis_connect_func"),
        ("redis://localhost?socket_type=1", "no socket_type"),
        ("redis://localhost?retry=3", "no retry"),
        ("redis+cluster://a,b?retry=3", "no retry"),
        ("redis+sentinel://a,b/main?retry=3", "no retry"),
        ("redis://localhost?db=-1", "db of 0 or more"),
        ("redis+cluster://", "valid hosts"),
        ("redis+cluster://a,,b", "valid hosts"),
        ("redis+cluster://a:70000", "valid hosts"),
        ("redis+cluster://a:b", "valid hosts"),
        ("redis+cluster://[::1", "valid hosts"),
        ("redis+cluster://a,b/1", "name no database"),
        ("redis+cluster://a,b/main", "name no database"),
        ("redis+cluster://a,b?db=1", "name no database"),
        ("redis+cluster://a,b?colour=red", "redis-py's options only"),
        ("redis+cluster://a,b?ssl_min_version=771", "redis-py's options only"),
        ("rediss+cluster://a,b?ssl_min_version=771", "without ssl_min_version"),
        ("redis+cluster://a,b?socket_timeout=0", "socket_timeout of seconds above 0"),
        ("redis+sentinel://a:1,b:2", "name a service"),
        ("redis+sentinel://a:1,b:2/", "name a service"),
        ("redis+sentinel://a:1,b:2/main/x", "name a service"),
        ("redis+sentinel://a:1,b:2/main/0/1", "name a service"),
        ("redis+sentinel://,/main", "valid hosts"),
        ("redis+sentinel://a/main?colour=red", "redis-py's options only"),
        ("redis+sentinel://a/main?socket_connect_timeout=nan", "socket_connect_timeout of seconds above 0"),
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
        "redis://localhost?%70assword=secret&colour=red",
        "redis+cluster://user:secret@a,b/7",
        "redis+cluster://user:secret[@a,b",
        "redis+cluster://user:secret\u2100@a,b",  # a character that stands for several, one of which parts URLs
        "redis+cluster://user:secret@a,b?colour=red",
        "redis+sentinel://:secret@a,b",
        "redis+sentinel://a,b/main?sentinel_password=secret&colour=red",
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

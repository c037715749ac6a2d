"""Texts and data that users, files and servers give us."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

#: No surrogates: those are tried where text may have them.
_TEXT: Final = st.text(max_size=40)

ANYTHING: Final[st.SearchStrategy[Any]] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**1100),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.text(min_size=1_020, max_size=1_030),
    st.binary(max_size=10),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([object(), object, "closed", "open", "half-open", "{", "}", "{}", "{a}", "}{", "\0", "\ud800"]),
)

_SCHEMES: Final = (
    *("memory", "sqlite", "redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel"),
    *("rediss+sentinel", "REDIS", "http", "", "redis+", "redis "),
)
_HOSTS: Final = (
    *("localhost", "localhost:6379", "[::1]", "[::1", "host:99999", "host:-1", "host:x", "a,b:1", ",", "", "::", "a b"),
    *("%41", "host:1,host:2", "[v1.x]", "ho\tst", "\N{FULLWIDTH SOLIDUS}", "\N{CARE OF}", "h\ud800"),
)
#: In every URL that has a user; never in a message.
PASSWORD: Final = "s3cr3tpw"
_USERS: Final = ("", f"user:{PASSWORD}@", f":{PASSWORD}@", f"user:{PASSWORD}/@", f"u@:{PASSWORD}@", f"u:{PASSWORD}#@")
_PATHS: Final = (
    *("", "/", "/0", "/15", "/x", "/-1", "//", "/file.db", "//tmp/file.db", "/:memory:", "/a%00b", "/%", "/service/0"),
    *("/service/", "/service/x", "/\udcff", "/99999999999999999999"),
)
_OPTIONS: Final = (
    *("", "db=1", "db=x", "db=-1", "socket_timeout=0", "socket_timeout=1", "socket_timeout=nan", "socket_timeout=x"),
    *("socket_connect_timeout=inf", "ssl_cert_reqs=none", "ssl_cert_reqs=bad", "decode_responses=yes", "host=other"),
    *("retry=3", "retry_on_timeout=1", "max_connections=0", "max_connections=x", "protocol=3", "protocol=9", "nope=1"),
    *(f"password={PASSWORD}", f"sentinel_password={PASSWORD}", "path=/x", "connection_pool=x", "encoder_class=x"),
    *("cache=1", "health_check_interval=x", "client_name=%00", "lib_name=a b", "=", "&", "%", "db", "timeout=1"),
    *("encoding=x", "socket_keepalive=1", "credential_provider=x", "username=u", "ssl_ca_certs=/nowhere"),
)

URLS: Final = st.one_of(
    st.builds(
        lambda scheme, user, host, path, options: (
            f"{scheme}://{user}{host}{path}" + (options and "?" + "&".join(options))
        ),
        st.sampled_from(_SCHEMES),
        st.sampled_from(_USERS),
        st.sampled_from(_HOSTS) | _TEXT,
        st.sampled_from(_PATHS) | _TEXT,
        st.lists(st.sampled_from(_OPTIONS), max_size=3).map(lambda options: options or ""),
    ),
    st.builds(
        lambda scheme, rest: f"{scheme}:{rest}", st.sampled_from(_SCHEMES), st.text(st.characters(), max_size=60)
    ),
    ANYTHING,
)

_KEYS: Final = (
    *(
        "url",
        "max_breakers",
        "key_ttl",
        "fallback_circuit_state",
        "history",
        "default",
        "breakers",
        "backoff",
        "policy",
    ),
    *("fail_max", "reset_timeout", "success_threshold", "throw_new_error_on_trip", "half_open_max_calls", "max_hold"),
    *("probe_timeout", "max_staleness", "multiplier", "maximum", "jitter", "nope", "", "a.b", "*", "llm"),
)
DURATIONS: Final = st.one_of(
    st.lists(
        st.tuples(st.sampled_from(["1", "0", "1.5", "1.", ".5", "1e3", "-1", "\u0661", "9" * 400]), st.sampled_from(["d", "h", "m", "s", "ms", "us", ""])),  # noqa: E501  one list
        max_size=4,
    ).map(lambda parts: "".join(number + unit for number, unit in parts)),
    ANYTHING,
)  # fmt: skip
_VALUES: Final = st.one_of(DURATIONS, st.sampled_from(["redis://localhost", "provider", "memory://", True, False]))
_NAMES: Final = st.one_of(st.sampled_from(_KEYS), ANYTHING.filter(lambda value: not isinstance(value, list)))
#: What a TOML or YAML file may hold, or a program pass.
SETTINGS: Final = st.recursive(
    _VALUES,
    lambda inner: st.dictionaries(_NAMES, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)

#: Of settings files.
FILES: Final = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.lists(
        st.builds(
            lambda key, sign, value: f"{key}{sign}{value}",
            st.sampled_from([*_KEYS, "[default]", "[breakers.llm]", '[breakers."a.*"]', "- a", "&a [*a]", "<<", "? x"]),
            st.sampled_from([" = ", ": ", "\n", ":\n  ", " "]),
            st.sampled_from(["1", '"30s"', "nan", "inf", "true", "{}", "[]", "1979-05-27", "0x10", "!!python/name:os.system", "*a", "&a", "'", "[" * 50, "2001-01-01", "1_0", "~"]),  # noqa: E501  one list
        ),
        max_size=5,
    ).map(lambda lines: "\n".join(lines).encode()),
)  # fmt: skip

_HEADER_VALUES: Final = st.one_of(
    st.sampled_from(
        [
            *("120", "0", "-1", "1.5", "1e9", "inf", "nan", "1,2", "1, ,2", "\u0661", "9" * 400, " 5 ", "", "0x10"),
            *("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 9999 07:28:00 GMT", "21 Oct 2015 07:28:00 -9999"),
            *("Wed, 21 Oct 2015 07:28:00 +0000 (comment", "0 Jan 0 0:0:0 Z", "Thu, 99 Foo 99999 99:99:99 XYZ"),
        ]
    ),
    st.text(st.characters(), max_size=60),
)
HEADERS: Final = st.lists(
    st.tuples(st.sampled_from(["retry-after", "retry-after-ms", "date", "server"]), _HEADER_VALUES), max_size=4
)

#: What a server may say instead of what keys.lua returns.
REPLIES: Final = st.one_of(
    st.none(),
    st.integers(),
    st.lists(st.binary(max_size=5), max_size=3),
    st.binary(max_size=80),
    st.text(st.characters(), max_size=80),
    st.lists(
        st.sampled_from(["admitted", "closed", "open", "0", "5", "-1", "", "x", "t:1", "t", "t:x", "manual", "9" * 30]),
        max_size=14,
    ).map(" ".join),
)

#: Values of a column of an SQLite row.
CELLS: Final = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),  # which SQLite takes for NULL
    st.binary(max_size=10),
    st.text(max_size=10),
    st.sampled_from(
        ["closed", "open", "half-open", "manual", "t:1", "t:1,", "t:1:2", ":", "t:-5", "t:1_0", "t:\u0661"]
    ),
)

#: Bytes that a Redis key may hold in a record's place.
VALUES: Final = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"closed", b"open", b"half-open", b"0", b"1", b"-1", b"1.5", b"1e3", b"9" * 17, b"", b" ", b"nan", b"t:1", b"a:1,b:2", b"a:", b":1", b"a:1,,b:1", b"manual", b"\xff"]),  # noqa: E501  one list
)  # fmt: skip

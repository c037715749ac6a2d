"""Settings from data: files, mappings and environment variables."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from pybreaker_ext import Backoff, CircuitBreaker, CircuitBreakerRegistry, get_circuit_breaker, reset_all_breakers
from pybreaker_ext.config import KEYS, SETTINGS, tables_of
from pybreaker_ext.durations import in_seconds
from pybreaker_ext.http import is_client_error, throttled_for

if TYPE_CHECKING:
    from collections.abc import Iterator

TOML = """\
url = "memory://"

[default]
fail_max = 3
reset_timeout = 30

[breakers."openai/*"]
reset_timeout = "45s"

[breakers."*/gpt-4o"]
reset_timeout = "1m"
probe_timeout = "250ms"

[breakers."openai/gpt-4o"]
fail_max = 5
backoff = { multiplier = 2, maximum = "10m", jitter = 0.1 }
"""

YAML = """\
url: memory://
default:
  fail_max: 3
  reset_timeout: 30
breakers:
  openai/*:
    reset_timeout: 45s
  "*/gpt-4o":
    reset_timeout: 1m
    probe_timeout: 250ms
  openai/gpt-4o:
    fail_max: 5
    backoff: {multiplier: 2, maximum: 10m, jitter: 0.1}
"""

BAD = """\
[default]
fail_max = 0

[breakers."openai/*"]
reset_timout = "45s"
probe_timeout = "soon"
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The tester's own variables don't count; files have short names."""
    monkeypatch.delenv("PYBREAKER_EXT_URL", raising=False)
    monkeypatch.delenv("PYBREAKER_EXT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    reset_all_breakers()


def written(text: str | bytes, name: str = "breakers.toml") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def registry_of(mapping: Any, **more: Any) -> CircuitBreakerRegistry:
    return CircuitBreakerRegistry.from_settings(mapping, **{"url": "memory://", **more})


def faults_of(mapping: Any) -> list[str]:
    """Return the lines of the error without its heading."""
    with pytest.raises(ValueError) as caught:
        registry_of(mapping)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def refused(text: str | bytes, name: str = "breakers.toml") -> str:
    with pytest.raises(ValueError) as caught:
        CircuitBreakerRegistry.from_file(written(text, name), url="memory://")
    return str(caught.value)


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "name"), [(TOML, "breakers.toml"), (YAML, "breakers.yaml"), (YAML, "b.yml"), (TOML, "B.TOML")]
    )
    def test_toml_and_yaml_say_the_same(self, text: str, name: str) -> None:
        registry = CircuitBreakerRegistry.from_file(written(text, name))
        breaker = registry.get("openai/gpt-4o")
        assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (5, 60, 2)
        assert (breaker._probe_timeout, breaker._backoff) == (0.25, Backoff(2, maximum=600, jitter=0.1))
        assert registry.get("anthropic/claude").fail_max == 3

    def test_a_path_object_and_windows_line_ends_and_a_byte_order_mark(self) -> None:
        path = Path(written(b"\xef\xbb\xbf" + TOML.replace("\n", "\r\n").encode()))
        assert CircuitBreakerRegistry.from_file(path).get("a").fail_max == 3

    def test_other_endings(self) -> None:
        for name in ("breakers.json", "breakers", ""):
            with pytest.raises(ValueError, match=r"must end in \.toml, \.yaml or \.yml; it is "):
                CircuitBreakerRegistry.from_file(name, url="memory://")

    def test_a_missing_file(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"none\.toml"):
            CircuitBreakerRegistry.from_file("none.toml", url="memory://")

    def test_an_empty_file_says_nothing(self) -> None:
        for name in ("breakers.toml", "breakers.yaml"):
            assert CircuitBreakerRegistry.from_file(written("", name), url="memory://").get("a").fail_max == 5

    @pytest.mark.parametrize(
        ("text", "name", "told"),
        [
            ("a = 1\nb = \n", "breakers.toml", "Invalid value (at line 2, column 5)"),
            ("[default]\n[default]\n", "breakers.toml", "Cannot declare ('default',) twice (at line 2, column 9)"),
            ("a: [1\nb: 2\n", "b.yaml", "while parsing a flow sequence, expected ',' or ']', but got ':' (at line 2,"),
            ("url: x\ndefault: {}\nurl: y\n", "b.yaml", "a key stands twice (at line 3, column 1)"),
            ("? [a, b]\n: 1\n", "b.yaml", "while constructing a mapping, found unhashable key (at line 1, column 3)"),
            ("a: 1\nb: \0", "b.yaml", "special characters are not allowed (at line 2, column 4)"),
            ("default: {fail_max: 2026-13-45}", "b.yaml", "a value is impossible: month must be in 1..12"),
            ("a: 1\n---\nb: 2\n", "b.yaml", "but found another document (at line 2, column 1)"),
            ("a = " + "[" * 100_000, "breakers.toml", "recursion"),
        ],
    )
    def test_what_is_no_toml_or_yaml(self, text: str, name: str, told: str) -> None:
        message = refused(text, name)
        assert message.startswith(f"{name} can't be understood: ")
        assert told in message

    @pytest.mark.parametrize("name", ["breakers.toml", "breakers.yaml"])
    def test_what_is_not_utf_8(self, name: str) -> None:
        assert (
            refused("# gr\n# grün".encode("latin-1"), name) == f"{name} must be a text in UTF-8, and isn't (at line 2)"
        )

    def test_yaml_makes_no_objects(self) -> None:
        assert "could not determine a constructor" in refused("default: !!python/object/apply:os.getcwd []", "b.yaml")

    def test_yaml_may_reuse_a_table(self) -> None:
        """Merging is no repetition, in whichever order PyYAML does it."""
        text = """\
            default: &base {fail_max: 3}
            breakers:
              a: &a {<<: *base, fail_max: 4}
              b: {<<: *a, fail_max: 6}
              c: {<<: *a}
            """
        registry = CircuitBreakerRegistry.from_file(written(text, "b.yaml"), url="memory://")
        assert [registry.get(name).fail_max for name in "abc"] == [4, 6, 4]


class TestFaults:
    def test_a_name_with_dots_that_is_not_quoted(self) -> None:
        said = refused("[breakers.gpt-4.1]\nfail_max = 3\n")
        assert said.endswith("(a name with dots needs quotes)")

    def test_a_bad_url_in_the_environment_is_told_by_its_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "mysql://host")
        with pytest.raises(ValueError, match=r"^PYBREAKER_EXT_URL: url must begin with memory://"):
            CircuitBreakerRegistry()

    def test_all_are_told_at_once_with_their_places(self) -> None:
        assert refused(BAD).splitlines() == [
            "breakers.toml has 3 errors:",
            "  default.fail_max: must be at least 1, not 0",
            (
                '  breakers."openai/*".probe_timeout: must be a number of seconds, or a text such as "30s" or "1m30s", '
                "not 'soon'"
            ),
            '  breakers."openai/*".reset_timout: is no setting; did you mean reset_timeout?',
        ]

    def test_of_a_mapping(self) -> None:
        with pytest.raises(
            ValueError, match=r"^the mapping has 1 error:\n  default.fail_max: must be at least 1, not 0$"
        ):
            registry_of({"default": {"fail_max": 0}})

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("fail_max", "3", "must be a whole number of at least 1, not '3'"),
            ("fail_max", True, "must be a whole number of at least 1, not True"),
            ("fail_max", 3.0, "must be a whole number of at least 1, not 3.0"),
            ("reset_timeout", False, "must be a finite number of seconds, 0 or more, not False"),
            ("reset_timeout", math.nan, "must be a finite number of seconds, 0 or more, not nan"),
            ("reset_timeout", "30", 'must be a number of seconds, or a text such as "30s" or "1m30s", not \'30\''),
            ("probe_timeout", "0s", "must be a finite number of seconds above 0, not 0.0"),
            ("throw_new_error_on_trip", 1, "must be true or false, not 1"),
            ("max_hold", "0s", "must be a finite number of seconds above 0, not 0.0"),
            ("policy", "lmm", "must be 'http' or 'llm', not 'lmm'"),
            ("policy", ["llm"], "must be 'http' or 'llm', not ['llm']"),
            ("policy", None, "must be 'http' or 'llm', not None"),
            ("backoff", True, "must be a table, not bool"),
            ("backoff", {"jitter": 2}, "jitter: must be a number from 0 to 1, not 2"),
            ("backoff", {"multiplier": "2"}, "multiplier: must be a finite number of at least 1, not '2'"),
            ("backoff", {"maximum": "0s"}, "maximum: must be a finite number of seconds above 0, not 0.0"),
            ("backoff", {"max": 3}, "max: is no setting; did you mean maximum?"),
            ("listeners", [], "is no setting; there are policy, fail_max, reset_timeout,"),
            ("state_storage", None, "is no setting; there are"),
        ],
    )
    def test_of_a_breakers_table(self, key: str, value: Any, told: str) -> None:
        for mapping, path in [
            ({"default": {key: value}}, "default"),
            ({"breakers": {"a b": {key: value}}}, 'breakers."a b"'),
        ]:
            (fault,) = faults_of(mapping)
            assert fault.startswith(f"{path}.{key}")
            assert told in fault

    @pytest.mark.parametrize(
        ("mapping", "told"),
        [
            ({"max_breakers": 0}, "max_breakers: must be at least 1, not 0"),
            ({"key_ttl": 0}, "key_ttl: must be a finite number of seconds above 0, not 0"),
            (
                {"fallback_circuit_state": "shut"},
                "fallback_circuit_state: must be 'closed', 'open' or 'half-open', not",
            ),
            ({"url": "ftp://host"}, "url: must begin with memory://"),
            ({"url": 5}, "url: must be a text, not int"),
            ({"fail_max": 3}, "fail_max: is no setting; there are url, max_breakers,"),
            ({"breakerz": {}}, "breakerz: is no setting; did you mean breakers?"),
            ({"default": 3}, "default: must be a table, not int"),
            ({"breakers": None}, "breakers: must be a table, not NoneType"),
            ({"breakers": {"a": 3}}, "breakers.a: must be a table, not int"),
            ({"breakers": {"": {}}}, 'breakers."": must have at least one character'),
            ({"breakers": {"x" * 1025: {}}}, f"breakers.{'x' * 1025}: must have at most 1024 characters, not 1025"),
            ({"breakers": {7: {}}}, "breakers.7: must be a text, not 7"),
            ({7: 1}, "7: is no setting"),
            ({"default": {"\ud800": 1}}, "default: must have keys that UTF-8 can encode, not '\\ud800'"),
            ([], "must be a table, not list"),
            (None, "must be a table, not NoneType"),
        ],
    )
    def test_of_the_rest(self, mapping: Any, told: str) -> None:
        (fault,) = faults_of(mapping)
        assert fault.startswith(told)

    @pytest.mark.parametrize(
        "text",
        [
            'url = "redis://me:s3cret@localhost:x/0"',
            'url = ["redis://me:s3cret@localhost:6379/0"]',
            '[default]\nurl = "redis://me:s3cret@localhost:6379/0"',
            '[breakers]\nurl = "redis://me:s3cret@localhost:6379/0"',
            'url = "redis://me:s3cret@localhost:6379/0',
        ],
    )
    def test_none_tells_a_password(self, text: str) -> None:
        message = refused(text)
        assert "s3cret" not in message
        assert "url" in message or "Unterminated string (at end of document)" in message

    def test_a_number_too_long_to_be_shown(self) -> None:
        (fault,) = faults_of({"default": {"fail_max": 10**5000}})
        assert fault.startswith("default.fail_max: Exceeds the limit")

    def test_none_shows_pydantics_hand(self) -> None:
        with pytest.raises(ValueError) as caught:
            registry_of({"default": {"x": 1, "fail_max": "x", "backoff": 5}, "breakers": {1: 1}, "default_": 1})
        assert "pydantic" not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)

    def test_the_ranges_are_the_breakers_own(self) -> None:
        """Each setting is refused in a table just when `CircuitBreaker` refuses it."""
        for setting in sorted({*SETTINGS} - {"throw_new_error_on_trip", "backoff"}):
            for value in (None, True, -1, 0, 0.0, 0.5, 1, 1.5, 2**53 - 1, 2**53, 10**400, math.inf, math.nan, "x", [1]):
                assert takes(CircuitBreaker, **{setting: value}) == takes(tables_of, {"default": {setting: value}})

    def test_every_setting_that_is_data_is_there(self) -> None:
        code = {"exclude", "listeners", "include", "ignore", "failure_result", "hold_for", "hold_result"}
        code |= {"state_storage", "name"}
        assert set(SETTINGS) == set(CircuitBreaker.__init__.__annotations__) - code - {"return"}


def takes(function: Any, *args: Any, **kwargs: Any) -> bool:
    try:
        function(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("250ms", 0.25),
            ("9ms", 0.009),
            ("30s", 30),
            ("0.5s", 0.5),
            ("5m", 300),
            ("1h", 3600),
            ("7d", 604_800),
            ("1m30s", 90),
            ("1d2h3m4s5ms", 93_784.005),
        ],
    )
    def test_units(self, text: str, seconds: float) -> None:
        assert in_seconds(text) == seconds
        assert registry_of({"default": {"reset_timeout": text}}).get("a").reset_timeout == seconds

    @pytest.mark.parametrize(
        "text", ["", "5", "s", "-5s", "5 s", "5S", "30s1m", "5s5s", "5min", "1.s", "٣s", "5s\n", "1e3s"]
    )
    def test_what_is_none(self, text: str) -> None:
        assert in_seconds(text) == text
        (fault,) = faults_of({"default": {"reset_timeout": text}})
        assert fault.endswith(f"not {text!r}")

    def test_numbers_are_seconds(self) -> None:
        assert registry_of({"default": {"reset_timeout": 1.5}}).get("a").reset_timeout == 1.5

    def test_the_registrys(self) -> None:
        registry = registry_of({"key_ttl": "7d"}, url="redis://localhost:6379/0")
        assert registry.get("a")._state_storage._key_ttl == 604_800_000


class TestPrecedence:
    def test_from_the_weakest_to_the_strongest(self) -> None:
        """Each layer gives one setting more than the next, so that each shows once."""
        settings = (
            "fail_max",
            "half_open_max_calls",
            "success_threshold",
            "reset_timeout",
            "probe_timeout",
            "max_staleness",
        )
        layers = [dict.fromkeys(settings[: 6 - layer], layer) for layer in range(1, 6)]
        mapping = {"default": layers[1], "breakers": {"a*": layers[2], "*b": layers[3], "ab": layers[4]}}
        breaker = registry_of(mapping, **layers[0]).get("ab", fail_max=6)
        found = (
            breaker.fail_max,
            breaker._half_open_max_calls,
            breaker.success_threshold,
            breaker.reset_timeout,
            breaker._probe_timeout,
            breaker._max_staleness,
        )
        assert found == (6, 4, 3, 2, 1, 0.1)

    def test_a_policys_settings_stand_where_its_key_does(self) -> None:
        """Its own table and nearer ones beat it; it beats what is farther away."""
        mapping = {
            "default": {"probe_timeout": 1, "fail_max": 2},
            "breakers": {
                "*": {"policy": "llm", "max_hold": "1m", "backoff": False},
                "near": {"probe_timeout": "5m"},
                "plain": {"policy": "http", "probe_timeout": 7},
            },
        }
        registry = registry_of(mapping)
        near, other, plain = map(registry.get, ("near", "other", "plain"))
        assert [breaker._probe_timeout for breaker in (near, other, plain)] == [300, 600, 7]
        assert [breaker.fail_max for breaker in (near, other, plain)] == [2, 2, 2]
        assert near._made_with["ignore"] == [is_client_error]
        assert (near._made_with["max_hold"], near._made_with["backoff"]) == (60, None)
        assert plain._made_with["backoff"] == Backoff()
        assert registry.get("near", hold_for=throttled_for) is near

    def test_an_exact_table_wins_wherever_it_stands(self) -> None:
        registry = registry_of({"breakers": {"a": {"fail_max": 1}, "*": {"fail_max": 2}}})
        assert (registry.get("a").fail_max, registry.get("b").fail_max) == (1, 2)

    def test_the_later_glob_wins(self) -> None:
        for globs, expected in [(("a*", "*b"), 2), (("*b", "a*"), 2)]:
            tables = {glob: {"fail_max": number} for number, glob in enumerate(globs, 1)}
            assert registry_of({"breakers": tables}).get("ab").fail_max == expected

    def test_a_name_that_looks_like_a_glob_has_its_own_table(self) -> None:
        registry = registry_of({"breakers": {"m[1]": {"fail_max": 1}, "m?1?": {"fail_max": 2}}})
        assert [registry.get(name).fail_max for name in ("m[1]", "m1", "m(1)")] == [1, 1, 2]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("openai/gpt", 1),
            ("openai/eu/gpt\n4", 1),
            ("openai/", 1),
            ("OpenAI/gpt", 5),
            ("my/openai/gpt", 5),
            ("openai", 5),
        ],
    )
    def test_a_glob_is_about_the_whole_name(self, name: str, expected: int) -> None:
        assert registry_of({"breakers": {"openai/*": {"fail_max": 1}}}).get(name).fail_max == expected

    def test_defaults_by_name_stay(self) -> None:
        breaker = registry_of({}).get("a")
        assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (5, 30, 2)

    def test_code_gives_what_data_can_not(self) -> None:
        assert registry_of({"default": {"fail_max": 1}}, exclude=[KeyError], fail_max=9).get("a").fail_max == 1
        with pytest.raises(TypeError, match="fail_maximum is no setting"):
            registry_of({}, fail_maximum=1)

    def test_the_mappings_registry_beats_the_codes(self) -> None:
        registry = registry_of({"max_breakers": 1}, max_breakers=2)
        assert [len(registry) for name in "ab" if registry.get(name)] == [1, 1]

    def test_later_settings_are_compared_with_the_tables(self) -> None:
        registry = registry_of({"breakers": {"a": {"fail_max": 3}}})
        assert registry.get("a") is registry.get("a", fail_max=3)
        with pytest.raises(ValueError, match="fail_max is 3, not 4"):
            registry.get("a", fail_max=4)

    def test_a_table_can_take_the_backoff_away(self) -> None:
        for nothing in (False, None):
            tables = {"default": {"backoff": {}}, "breakers": {"a": {"backoff": nothing}}}
            assert [registry_of(tables).get(name)._backoff for name in "ab"] == [None, Backoff()]

    def test_any_mapping_will_do(self) -> None:
        mapping = MappingProxyType({"default": MappingProxyType({"fail_max": 3})})
        assert registry_of(mapping).get("a").fail_max == 3

    def test_other_changes_of_the_mapping_do_not_count(self) -> None:
        mapping: dict[str, Any] = {"default": {"fail_max": 3}, "breakers": {"b": {"fail_max": 3}}}
        registry = registry_of(mapping)
        mapping["default"]["fail_max"] = mapping["breakers"]["b"]["fail_max"] = 4
        assert [registry.get(name).fail_max for name in "ab"] == [3, 3]

    def test_the_fallback_state(self) -> None:
        registry = registry_of({"fallback_circuit_state": "open"}, url="sqlite:///none/circuits.db")
        assert registry.get("a").current_state == "open"


class TestUrls:
    """sqlite files tell which URL was taken."""

    @staticmethod
    def place_of(registry: CircuitBreakerRegistry) -> str | None:
        return registry._url

    def test_argument_then_environment_then_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mapping = {"url": "sqlite:///file.db"}
        assert self.place_of(CircuitBreakerRegistry.from_settings(mapping)) == "sqlite:///file.db"
        monkeypatch.setenv("PYBREAKER_EXT_URL", "sqlite:///environment.db")
        assert self.place_of(CircuitBreakerRegistry.from_settings(mapping)) == "sqlite:///environment.db"
        assert self.place_of(registry_of(mapping, url="sqlite:///argument.db")) == "sqlite:///argument.db"

    def test_a_client_is_an_argument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "memory://")
        client = redis.Redis()
        for registry in (
            CircuitBreakerRegistry.from_settings({"url": "memory://"}, client=client),
            CircuitBreakerRegistry(client=client),
        ):
            assert registry.get("a")._state_storage._redis is client
        with pytest.raises(TypeError, match="url or client must be given, and not both"):
            CircuitBreakerRegistry.from_settings({}, url="memory://", client=client)

    @pytest.mark.parametrize("mapping", [{}, {"url": None}])
    def test_none(self, mapping: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "")
        told = "url or client must be given, or PYBREAKER_EXT_URL be set, or the settings have a url"
        with pytest.raises(ValueError, match=told):
            CircuitBreakerRegistry.from_settings(mapping)
        with pytest.raises(TypeError, match="url or client must be given, .* PYBREAKER_EXT_URL must be set"):
            CircuitBreakerRegistry()

    def test_a_registry_without_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "sqlite:///environment.db")
        assert self.place_of(CircuitBreakerRegistry()) == "sqlite:///environment.db"
        assert self.place_of(CircuitBreakerRegistry("memory://")) == "memory://"

    def test_a_path_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML, "environment.toml"))
        assert CircuitBreakerRegistry.from_file().get("a").fail_max == 3
        path = written("[default]\nfail_max = 4", "argument.toml")
        assert CircuitBreakerRegistry.from_file(path, url="memory://").get("a").fail_max == 4

    @pytest.mark.parametrize("unset", [None, ""])
    def test_no_path(self, unset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        if unset is not None:
            monkeypatch.setenv("PYBREAKER_EXT_CONFIG", unset)
        with pytest.raises(ValueError, match="path must be given, or PYBREAKER_EXT_CONFIG be set"):
            CircuitBreakerRegistry.from_file()

    def test_the_file_of_the_environment_is_only_for_who_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML))
        assert CircuitBreakerRegistry("memory://").get("a").fail_max == 5


class TestProcessWide:
    def test_the_files_tables_hold_for_every_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML.replace("memory://", "sqlite:///file.db")))
        for url in ("memory://", "sqlite:///other.db"):
            breaker = get_circuit_breaker(url, "openai/gpt-4o")
            assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (5, 60, 2)
            assert get_circuit_breaker(url, "a").fail_max == 3
        breaker.open()
        assert not Path("file.db").exists()

    def test_what_is_given_beats_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML))
        assert get_circuit_breaker(name="a", fail_max=5).fail_max == 5

    def test_without_a_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML))
        assert get_circuit_breaker(name="a") is get_circuit_breaker("memory://", "a") is get_circuit_breaker(None, "a")
        reset_all_breakers()
        monkeypatch.setenv("PYBREAKER_EXT_URL", "sqlite:///environment.db")
        assert get_circuit_breaker("sqlite:///environment.db", "a") is get_circuit_breaker(name="a")
        assert get_circuit_breaker("memory://", "a") is not get_circuit_breaker(name="a")

    def test_the_url_of_the_environment_needs_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "memory://")
        assert get_circuit_breaker() is get_circuit_breaker("memory://")

    def test_nothing_tells_a_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(
            ValueError, match="redis_url must be given, or PYBREAKER_EXT_URL be set, or PYBREAKER_EXT_CONFIG"
        ):
            get_circuit_breaker()
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written("[default]"))
        with pytest.raises(ValueError, match="or PYBREAKER_EXT_URL be set, or the settings have a url"):
            get_circuit_breaker()

    def test_the_variables_are_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(TOML))
        breaker = get_circuit_breaker(name="a")
        Path("breakers.toml").unlink()
        assert get_circuit_breaker(name="a") is breaker
        assert get_circuit_breaker(name="b").fail_max == 3

    def test_a_faulty_file_stops_every_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_CONFIG", written(BAD))
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^breakers.toml has 3 errors"):
                get_circuit_breaker("memory://")

    def test_reset_all_resets_each_circuit_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYBREAKER_EXT_URL", "memory://")
        told: list[tuple[str, str]] = []

        class Listener:
            def state_change(self, breaker: Any, old: Any, new: Any) -> None:
                told.append((old.name, new.name))

        get_circuit_breaker(name="a", listeners=[Listener()]).open()
        reset_all_breakers()
        assert told == [("closed", "open"), ("open", "closed")]


class TestExtras:
    def test_settings_without_pydantic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pydantic", None)
        monkeypatch.delitem(sys.modules, "pybreaker_ext.config")
        for make in (lambda: registry_of({}), lambda: CircuitBreakerRegistry.from_file(written(TOML))):
            with pytest.raises(ImportError, match=r'pip install "pybreaker-ext\[settings\]"'):
                make()
        assert CircuitBreakerRegistry("memory://").get("a").fail_max == 5

    def test_yaml_without_pyyaml(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        monkeypatch.delitem(sys.modules, "pybreaker_ext.config_yaml", raising=False)
        with pytest.raises(ImportError, match=r'pip install "pybreaker-ext\[yaml\]"'):
            CircuitBreakerRegistry.from_file(written(YAML, "breakers.yaml"))
        assert CircuitBreakerRegistry.from_file(written(TOML)).get("a").fail_max == 3


ODD_KEYS = st.sampled_from([*KEYS, "jitter"])
ODD_SETTINGS = st.sampled_from([*SETTINGS, "maximum", "a*", "a", "[key]", "", "\ud800"])
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["30s", "open", "memory://", "redis://h:x", "sqlite://", b"x", object(), (1,), {1}]),
)
TABLES = st.recursive(
    ODD,
    lambda value: (
        st.lists(value, max_size=2) | st.dictionaries(ODD_SETTINGS | st.integers() | st.none(), value, max_size=4)
    ),
)


@given(st.dictionaries(ODD_KEYS, TABLES, max_size=5) | TABLES)
@example({"breakers": {"[key]": {"[key]": 1}}})
@example({"breakers": {"breakers": {"backoff": {"backoff": 1}}}})
@example({"default": {"reset_timeout": "9" * 400 + "s"}})
def test_odd_values_give_a_registry_or_one_clear_error(mapping: Any) -> None:
    try:
        breaker = registry_of(mapping).get("a")
    except ValueError as error:
        heading, *faults = str(error).split("\n")
        assert heading == f"the mapping has {len(faults)} error{'s'[: len(faults) - 1]}:"
        assert all(fault.startswith("  ") and "Input should" not in fault for fault in faults)
    else:
        assert isinstance(breaker, CircuitBreaker)

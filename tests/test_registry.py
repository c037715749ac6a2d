"""Breakers by name: the same object from everywhere, in each kind of store."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import inspect
import itertools
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import redis
import servers

import pybreaker_ext
from pybreaker_ext import CircuitBreakerError, CircuitBreakerRegistry, get_circuit_breaker, reset_all_breakers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ["claude", "openai/gpt-4o:eu-west", "with space", "{braces}", "}", "a{b}c", "ä—名", "x" * 1024, "a:pybreaker"]


@pytest.fixture(params=["memory", "sqlite", "redis_server", "redis_cluster", "redis_sentinels"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        yield "memory://"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/circuits.db"
    else:
        store = request.getfixturevalue(request.param)
        store.clear()
        yield store.patient_url
    reset_all_breakers()


@pytest.fixture
def registry(url: str) -> Iterator[CircuitBreakerRegistry]:
    with CircuitBreakerRegistry(url) as made:
        yield made


def test_the_same_name_is_the_same_object(registry: CircuitBreakerRegistry) -> None:
    assert registry.get("a") is registry.get("a")
    assert registry.get("a") is not registry.get("b")
    assert registry.get("a").name == "a"


def test_defaults_by_name(registry: CircuitBreakerRegistry) -> None:
    breaker = registry.get("a")
    assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (5, 30, 2)
    assert registry.get("b", fail_max=3, success_threshold=1).success_threshold == 1


def test_defaults_of_the_registry(url: str) -> None:
    with CircuitBreakerRegistry(url, fail_max=7, reset_timeout=9) as registry:
        breaker = registry.get("a", reset_timeout=4)
        assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (7, 4, 2)


def test_other_settings_are_refused_and_each_difference_is_named(registry: CircuitBreakerRegistry) -> None:
    breaker = registry.get("a", fail_max=3)
    assert registry.get("a", fail_max=3) is registry.get("a", reset_timeout=30) is registry.get("a") is breaker
    wanted = "'a' was made with other settings: fail_max is 3, not 4; probe_timeout is 30.0, not 5"
    with pytest.raises(ValueError, match=wanted):
        registry.get("a", fail_max=4, probe_timeout=5, success_threshold=2)


@pytest.mark.parametrize("name", NAMES)
def test_names_may_hold_any_text(registry: CircuitBreakerRegistry, name: str) -> None:
    registry.get(name).open()
    assert registry.get(name).current_state == "open"


def test_no_two_names_share_a_circuit(url: str) -> None:
    with CircuitBreakerRegistry(url) as registry:
        for opened, other in itertools.permutations(NAMES, 2):
            registry.get(opened).open()
            assert registry.get(other).current_state == "closed", (opened, other)
            registry.get(opened).close()


@pytest.mark.parametrize(
    ("name", "error"),
    [("", ValueError), ("x" * 1025, ValueError), (5, TypeError), (None, TypeError), (["a"], TypeError)],
)
def test_names_that_are_none(registry: CircuitBreakerRegistry, name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="name must"):
        registry.get(name)


def test_bad_settings(url: str) -> None:
    with pytest.raises(TypeError, match="fail_maximum is no setting"):
        CircuitBreakerRegistry(url, fail_maximum=3)
    with pytest.raises(ValueError, match="fail_max must be at least 1, not 0"):
        CircuitBreakerRegistry(url, fail_max=0)
    with pytest.raises(ValueError, match="max_breakers must be at least 1, not 0"):
        CircuitBreakerRegistry(url, max_breakers=0)
    with pytest.raises(ValueError, match="fallback_circuit_state must be 'closed'"):
        CircuitBreakerRegistry(url, fallback_circuit_state="shut")
    with pytest.raises(ValueError, match="key_ttl must be a finite number of seconds above 0, or None, not 0"):
        CircuitBreakerRegistry(url, key_ttl=0)
    with CircuitBreakerRegistry(url) as registry:
        with pytest.raises(TypeError, match="state_storage is no setting"):
            registry.get("a", state_storage=None)
        with pytest.raises(ValueError, match="reset_timeout must be"):
            registry.get("a", reset_timeout=-1)
        assert registry.names() == ()


def test_bad_places() -> None:
    for bad in ("ftp://host", "", "redis:/host"):
        with pytest.raises(ValueError, match="url must"):
            CircuitBreakerRegistry(bad)
    with pytest.raises(TypeError, match="url or client must be given, .* PYBREAKER_EXT_URL must be set"):
        CircuitBreakerRegistry()
    with pytest.raises(TypeError, match="url or client must be given"):
        CircuitBreakerRegistry("memory://", client=redis.Redis())
    with pytest.raises(TypeError, match="redis_object must be"):
        CircuitBreakerRegistry(client="redis://localhost")


def test_fifty_threads_get_one_object(registry: CircuitBreakerRegistry) -> None:
    start, got = threading.Barrier(50), []

    def ask() -> None:
        start.wait()
        got.append(registry.get("a"))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 50
    assert len(set(map(id, got))) == 1


def test_the_one_asked_for_longest_ago_is_forgotten(url: str) -> None:
    with CircuitBreakerRegistry(url, max_breakers=2) as registry:
        first = registry.get("first")
        registry.get("second")
        registry.get("first")
        registry.get("third")
        assert registry.names() == ("first", "third")
        assert registry.get("first") is first


def test_one_that_is_held_stays_the_same_object_and_keeps_working(url: str) -> None:
    with CircuitBreakerRegistry(url, max_breakers=1) as registry:
        held = registry.get("held", fail_max=3)
        held.open()
        registry.get("other")
        assert registry.names() == ("other",)
        with pytest.raises(CircuitBreakerError):
            held.call(int)
        assert registry.get("held", fail_max=3) is held


def test_a_forgotten_circuit_stays_in_its_store(url: str) -> None:
    if url == "memory://":
        pytest.skip("a memory circuit goes with its last holder")
    with CircuitBreakerRegistry(url, max_breakers=1) as registry:
        registry.get("a").open()
        registry.get("other")
        gc.collect()
        assert registry.get("a").current_state == "open"


def test_twenty_thousand_names_do_not_pile_up() -> None:
    with CircuitBreakerRegistry("memory://", max_breakers=100) as registry:
        for number in range(20_000):
            registry.get(f"tenant/{number}")
        assert len(registry) == len(registry._living) == 100


def test_nor_do_breakers_whose_listeners_know_them() -> None:
    class Listener:
        breaker: Any

    with CircuitBreakerRegistry("memory://", max_breakers=10) as registry:
        for number in range(100):
            listener = Listener()
            listener.breaker = registry.get(f"tenant/{number}", listeners=[listener])
        del listener
        gc.collect()
        assert len(registry._living) <= 11


def test_whatever_can_be_iterated_over_is_a_list(registry: CircuitBreakerRegistry) -> None:
    breaker = registry.get("a", exclude=iter([KeyError]))
    assert breaker.excluded_exceptions == (KeyError,)
    assert registry.get("a", exclude=(KeyError,)) is registry.get("a", exclude=iter([KeyError])) is breaker
    assert registry.get("a", include=None, ignore=[], listeners=()) is breaker
    with pytest.raises(ValueError, match=r"exclude is \[.*KeyError.*\], not \[.*ValueError.*\]"):
        registry.get("a", exclude=iter([ValueError]))


def test_a_member_of_an_enumeration_is_the_text_that_it_is(registry: CircuitBreakerRegistry) -> None:
    class Model(str, enum.Enum):  # noqa: UP042  this kind is told from its value by str()
        GPT = "gpt"

    registry.get(Model.GPT).open()
    assert (registry.names(), registry.get("gpt").name) == (("gpt",), "gpt")
    with CircuitBreakerRegistry(registry._url) as other:
        if registry._url != "memory://":
            assert other.get("gpt").current_state == "open"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no such signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one may come in a finalizer
def test_an_exception_out_of_the_blue_leaves_no_lock_held() -> None:
    """Ctrl-C, or a time-out by a signal."""

    def interrupt(*_: object) -> None:
        raise InterruptedError

    with CircuitBreakerRegistry("memory://", max_breakers=4) as registry:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for number in range(3000):
                with contextlib.suppress(InterruptedError):
                    signal.setitimer(signal.ITIMER_REAL, 0.00005)
                    for _ in range(1000):
                        registry.get(f"tenant/{number % 8}")
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        elsewhere = threading.Thread(target=registry.get, args=("new",), daemon=True)
        elsewhere.start()
        elsewhere.join(30)
        assert not elsewhere.is_alive()


def test_names_are_read_while_others_get_some() -> None:
    with CircuitBreakerRegistry("memory://", max_breakers=50) as registry:
        done = threading.Event()

        def get() -> None:
            while not done.is_set():
                for number in range(60):
                    registry.get(str(number))

        threads = [threading.Thread(target=get) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            assert len(registry.names()) <= 51
            assert len(list(registry)) <= 51
        done.set()
        for thread in threads:
            thread.join()


def test_many_threads_that_get_known_names_all_find_them() -> None:
    """Without a GIL, an order that several threads change at once is soon broken: names get lost, or Python crashes."""
    names = ("a", "b", "c")
    with CircuitBreakerRegistry("memory://") as registry:
        made = {name: registry.get(name) for name in names}
        found: list[bool] = []
        start = threading.Barrier(8)

        def get(first: int) -> None:
            mine = (*names[first:], *names[:first]) * 30_000
            start.wait()
            found.append(all(registry.get(name) is made[name] for name in mine))

        threads = [threading.Thread(target=get, args=(number % 3,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 8
        assert sorted(registry.names()) == list(names)


def test_reset_all_reaches_who_is_forgotten_and_held(url: str) -> None:
    with CircuitBreakerRegistry(url, max_breakers=1) as registry:
        held = registry.get("held")
        held.open()
        registry.get("other")
        registry.reset_all()
        assert held.current_state == "closed"


def test_closing_it_in_a_loop_closes_its_connections(url: str) -> None:
    async def main() -> None:
        for _ in range(3):
            async with CircuitBreakerRegistry(url.replace("timeout=10", "timeout=5")) as registry:
                await registry.get("a").open_async()
            del registry
            gc.collect()
            await asyncio.sleep(0.01)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_reset_all(registry: CircuitBreakerRegistry) -> None:
    for name in "abc":
        registry.get(name).open()
    registry.reset_all()
    assert [breaker.current_state for breaker in registry] == ["closed"] * 3


def test_in_asyncio(url: str) -> None:
    async def main() -> list[str]:
        async with CircuitBreakerRegistry(url) as registry:
            for name in "ab":
                await registry.get(name).open_async()
            await registry.reset_all_async()
            return [(await breaker.snapshot_async()).state for breaker in registry]

    assert asyncio.run(main()) == ["closed"] * 2


def test_a_closed_registry_makes_nothing(registry: CircuitBreakerRegistry) -> None:
    registry.get("a")
    registry.close()
    registry.close()
    assert registry.names() == ()
    with pytest.raises(RuntimeError, match="the registry is closed"):
        registry.get("b")


def test_constructing_does_no_io() -> None:
    registry = CircuitBreakerRegistry(f"redis://127.0.0.1:{servers.free_port()}/0")
    assert registry.get("a").name == "a"


def test_breakers_of_one_url_share_connections(redis_server: servers.RedisServer) -> None:
    with CircuitBreakerRegistry(redis_server.patient_url) as registry:
        links = {id(registry.get(str(number))._state_storage._link) for number in range(20)}
    assert len(links) == 1


def test_keys_expire_when_the_registry_says_so(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        for registry in (
            CircuitBreakerRegistry(redis_server.patient_url, key_ttl=100),
            CircuitBreakerRegistry(client=client, key_ttl=100),
        ):
            client.flushall()
            registry.get("a", probe_timeout=10).open(duration=0)
            assert 100 <= client.ttl("a:pybreaker:ext") <= 110
            assert registry.get("b")._state_storage._key_ttl == 100_000


def test_a_store_that_is_away_leaves_each_process_in_the_fallback_state(tmp_path: Path) -> None:
    nobody = f"redis://127.0.0.1:{servers.free_port()}/0"
    for registry in (
        CircuitBreakerRegistry(nobody, fallback_circuit_state="open"),
        CircuitBreakerRegistry(f"sqlite:///{tmp_path}/none/circuits.db", fallback_circuit_state="open"),
        CircuitBreakerRegistry(client=redis.Redis.from_url(nobody), fallback_circuit_state="open"),
    ):
        with pytest.raises(CircuitBreakerError):
            registry.get("a").call(int)


def test_a_users_own_client(redis_server: servers.RedisServer) -> None:
    with redis_server.client(decode_responses=True) as client, CircuitBreakerRegistry(client=client) as registry:
        registry.get("a").open()
        assert client.get("a:pybreaker:state") == "open"


class TestFactory:
    def test_the_same_object_from_everywhere(self, url: str) -> None:
        breaker = get_circuit_breaker(url, name="claude_api")
        assert get_circuit_breaker(url, "claude_api") is breaker
        assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (5, 30, 2)

    @pytest.mark.parametrize("place", [["redis://localhost"], {}, b"memory://", 5])
    def test_a_place_that_is_none_is_called_so(self, place: Any) -> None:
        with pytest.raises(TypeError, match="url must be"):
            get_circuit_breaker(place, "claude")

    def test_a_place_may_be_a_text_of_ones_own_class(self, url: str) -> None:
        class Place(str):  # noqa: PLW1641, SLOT000  that it has no hash is the point
            def __eq__(self, other: object) -> bool:
                return self is other

        assert get_circuit_breaker(Place(url), "claude") is get_circuit_breaker(Place(url), "claude")

    def test_only_what_is_given_is_compared(self, url: str) -> None:
        breaker = get_circuit_breaker(url, fail_max=3)
        assert get_circuit_breaker(url) is breaker
        assert breaker.name == "llm_breaker"
        with pytest.raises(ValueError, match="fail_max is 3, not 5"):
            get_circuit_breaker(url, fail_max=5)

    def test_the_signature_shows_the_defaults(self) -> None:
        parameters = inspect.signature(get_circuit_breaker).parameters
        shown = {
            name: parameter.default for name, parameter in parameters.items() if parameter.default != inspect._empty
        }
        assert shown == {
            "redis_url": None,
            "name": "llm_breaker",
            "fail_max": 5,
            "reset_timeout": 30,
            "success_threshold": 2,
        }

    def test_reset_all_resets_and_forgets(self, url: str) -> None:
        breaker = get_circuit_breaker(url, "a")
        breaker.open()
        reset_all_breakers()
        assert breaker.current_state == "closed"
        assert get_circuit_breaker(url, "a", fail_max=3) is not breaker
        reset_all_breakers()
        reset_all_breakers()

    def test_resetting_all_meanwhile_is_no_error(self) -> None:
        done = threading.Event()
        errors: list[RuntimeError] = []

        def get() -> None:
            try:
                while not done.is_set():
                    get_circuit_breaker("memory://", "a")
            except RuntimeError as error:
                errors.append(error)

        threads = [threading.Thread(target=get) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2000):
            reset_all_breakers()
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []

    def test_it_protects(self, url: str) -> None:
        @get_circuit_breaker(url, "b", fail_max=1)
        def backend() -> None:
            raise ZeroDivisionError

        with pytest.raises(CircuitBreakerError):
            backend()
        with pytest.raises(CircuitBreakerError) as caught:
            pybreaker_ext.get_circuit_breaker(url, "b").call(int)
        assert caught.value.breaker_name == "b"

"""A drop-in for pybreaker: each scenario runs with pybreaker and with ours, and must be the same.

The scenarios need no clock: an open time of 0 s is over at once, one of 600 s doesn't end in a test.
Where we differ on purpose, a test of its own below shows what pybreaker does and what we do.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
import redis

import pybreaker_ext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from servers import RedisServer


class BackendError(Exception):
    pass


class SubError(BackendError):
    pass


class Run:
    """One scenario with one of the two packages; everything that can be seen goes into the log."""

    def __init__(self, package: ModuleType, client: redis.Redis | None) -> None:
        self.package = package
        self.client = client
        self.namespace = f"compat-{package.__name__}"
        self.shared: Any = None
        self.log: list[Any] = []

    def storage(self) -> Any:
        if self.client is not None:
            return self.package.CircuitRedisStorage("closed", self.client, namespace=self.namespace)
        self.shared = self.shared or self.package.CircuitMemoryStorage("closed")
        return self.shared

    def breaker(self, *, listen: bool = True, **settings: Any) -> Any:
        settings.setdefault("fail_max", 3)
        settings.setdefault("reset_timeout", 600)
        if self.package is pybreaker_ext:
            settings.setdefault("max_staleness", 0.0)  # as pybreaker, which always asks
        breaker = self.package.CircuitBreaker(state_storage=self.storage(), **settings)
        if listen:
            breaker.add_listener(self.listener())
        return breaker

    def listener(self, name: str = "") -> Any:
        log = self.log

        class Listener(self.package.CircuitBreakerListener):  # type: ignore[name-defined]
            def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                log.append((name, "before_call", repr(args), kwargs))

            def failure(self, cb: Any, exc: BaseException) -> None:
                log.append((name, "failure", type(exc).__name__, str(exc)))

            def success(self, cb: Any) -> None:
                log.append((name, "success"))

            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                log.append((name, "state_change", old_state.name, new_state.name, type(new_state).__name__))

        return Listener()

    def see(self, breaker: Any) -> None:
        self.log.append((breaker.fail_counter, breaker.success_counter, breaker.current_state, breaker.state.name))

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, and log how it ended."""
        try:
            result = function(*args, **kwargs)
        except self.package.CircuitBreakerError as error:
            self.log.append(("CircuitBreakerError", str(error), error.args))
        except Exception as error:  # noqa: BLE001  all of them are compared
            self.log.append((type(error).__name__, str(error), error.args))
        else:
            self.log.append(result)
            return result
        return None

    def call(self, breaker: Any, *outcomes: Any) -> None:
        for outcome in outcomes:
            self.do(breaker.call, end, outcome)
            self.see(breaker)


def end(outcome: Any) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


BAD = BackendError("bad")


def successes(run: Run) -> None:
    run.call(run.breaker(), 1, None, "text")


def failures_then_a_success(run: Run) -> None:
    run.call(run.breaker(), BAD, BAD, 1, BAD, BAD)


def trip_and_reject(run: Run) -> None:
    run.call(run.breaker(), BAD, BAD, BAD, 1, BAD, 1)


def trip_with_the_original_error(run: Run) -> None:
    run.call(run.breaker(throw_new_error_on_trip=False), BAD, BAD, BAD, 1)


def fail_max_of_one(run: Run) -> None:
    run.call(run.breaker(fail_max=1), 1, BAD, 1)


def probe_succeeds(run: Run) -> None:
    run.call(run.breaker(reset_timeout=0, fail_max=1), BAD, 1, 2, BAD)


def probe_fails(run: Run) -> None:
    run.call(run.breaker(reset_timeout=0), BAD, BAD, BAD, BAD, BAD, 1)


def probe_fails_with_the_original_error(run: Run) -> None:
    run.call(run.breaker(reset_timeout=0, fail_max=1, throw_new_error_on_trip=False), BAD, BAD, 1)


def success_threshold_of_two(run: Run) -> None:
    breaker = run.breaker(success_threshold=2)
    breaker.half_open()
    run.call(breaker, 1, 1, BAD)


def success_threshold_broken_by_a_failure(run: Run) -> None:
    breaker = run.breaker(success_threshold=3)
    breaker.half_open()
    run.call(breaker, 1, 1, BAD, 1)


def excluded_types(run: Run) -> None:
    run.call(run.breaker(exclude=[BackendError]), BAD, SubError("sub"), ValueError("v"), BAD, ValueError("v"))


def excluded_predicates(run: Run) -> None:
    run.call(
        run.breaker(exclude=[lambda exc: str(exc) == "fine", KeyError]), BAD, ValueError("fine"), BAD, KeyError("k")
    )


def excluded_in_half_open(run: Run) -> None:
    breaker = run.breaker(exclude=[BackendError])
    breaker.half_open()
    run.call(breaker, BAD, ValueError("v"))


def exclusions_that_change(run: Run) -> None:
    breaker = run.breaker()
    breaker.add_excluded_exception(BackendError)
    breaker.add_excluded_exceptions(ValueError, KeyError)
    run.call(breaker, BAD, ValueError("v"), KeyError("k"))
    breaker.remove_excluded_exception(BackendError)
    run.log.append(breaker.excluded_exceptions)
    run.call(breaker, BAD)


def by_hand(run: Run) -> None:
    breaker = run.breaker()
    run.call(breaker, BAD)
    for action in ("open", "half_open", "close", "half_open", "open", "close"):
        run.do(getattr(breaker, action))
        run.see(breaker)
    run.call(breaker, 1)


def by_hand_keeps_original_error(run: Run) -> None:
    run.do(run.breaker(throw_new_error_on_trip=False).open)


def opened_by_hand_rejects(run: Run) -> None:
    breaker = run.breaker()
    breaker.open()
    run.call(breaker, 1)


def closed_by_hand_after_a_trip(run: Run) -> None:
    breaker = run.breaker()
    run.call(breaker, BAD, BAD, BAD)
    breaker.close()
    run.call(breaker, BAD, BAD, 1)


def decorated(run: Run) -> None:
    breaker = run.breaker()

    @breaker
    def bare(x: int, *, y: int) -> Any:
        """Document."""
        return x, y

    @breaker()
    def with_parentheses(outcome: Any) -> Any:
        return end(outcome)

    class Client:
        @breaker
        def method(self, x: int) -> int:
            return x

    run.log.append((bare.__name__, bare.__doc__, str(inspect.signature(bare))))
    run.do(bare, 1, y=2)
    run.do(bare, 1)
    for outcome in (BAD, 1, BAD, BAD, BAD, 1):
        run.do(with_parentheses, outcome)
    run.see(breaker)
    run.do(lambda: Client().method(3))


def blocks(run: Run) -> None:
    breaker = run.breaker()
    for outcome in (1, BAD, 1, BAD, BAD, BAD, 1):

        def block(outcome: Any = outcome) -> Any:
            with breaker.calling() as given:
                return given, end(outcome)

        run.do(block)
        run.see(breaker)


def generators(run: Run) -> None:
    breaker = run.breaker()

    @breaker
    def stream(outcome: Any) -> Any:
        got = yield 1
        run.log.append(("got", got))
        yield end(outcome)

    for outcome in (2, BAD, 3, BAD, BAD, BAD):

        def consume(outcome: Any = outcome) -> list[Any]:
            made = stream(outcome)
            return [next(made), made.send("sent"), *made]

        run.do(consume)
        run.log.append((breaker.fail_counter, breaker.current_state))


def settings_that_change(run: Run) -> None:
    breaker = run.breaker()
    run.call(breaker, BAD, BAD)
    breaker.fail_max = 5
    run.call(breaker, BAD, BAD)
    breaker.fail_max, breaker.reset_timeout, breaker.success_threshold = 3, 0, 2
    run.log.append((breaker.fail_max, breaker.reset_timeout, breaker.success_threshold))
    run.call(breaker, BAD)
    breaker.fail_max = 9
    run.do(breaker.call, end, 1)
    run.log.append((breaker.success_counter, breaker.current_state))


def names(run: Run) -> None:
    breaker = run.breaker(name="first")
    run.log.append(breaker.name)
    breaker.name = "second"
    run.log.append((breaker.name, run.breaker().name))


def listeners_that_come_and_go(run: Run) -> None:
    breaker = run.breaker(listen=False, listeners=[run.listener("a")])
    b, c = run.listener("b"), run.listener("c")
    breaker.add_listeners(b, c)
    run.call(breaker, 1, BAD)
    breaker.remove_listener(b)
    run.log.append(len(breaker.listeners))
    run.call(breaker, BAD, BAD, 1)


def two_breakers_on_one_circuit(run: Run) -> None:
    first, second = run.breaker(listen=False), run.breaker(listen=False)
    first.add_listener(run.listener("first"))
    second.add_listener(run.listener("second"))
    run.call(first, BAD)
    run.call(second, BAD)
    run.call(first, BAD)
    run.call(second, 1)
    first.close()
    run.see(second)
    run.see(second)


def a_listener_that_looks(run: Run) -> None:
    breaker = run.breaker()

    class Looking(run.package.CircuitBreakerListener):  # type: ignore[name-defined]
        def success(self, cb: Any) -> None:
            run.log.append(("looks", cb.fail_counter, cb.success_counter, cb.state.name))

    breaker.add_listener(Looking())
    breaker.half_open()
    run.call(breaker, 1, 1)


def a_call_within_a_call(run: Run) -> None:
    breaker = run.breaker()
    run.do(breaker.call, breaker.call, end, 5)
    run.do(breaker.call, breaker.call, end, BAD)
    run.see(breaker)


def old_listeners_by_duck_type(run: Run) -> None:
    class Duck:
        def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
            run.log.append(("before", func.__name__))

        def failure(self, cb: Any, exc: BaseException) -> None: ...
        def success(self, cb: Any) -> None: ...
        def state_change(self, cb: Any, old: Any, new: Any) -> None:
            run.log.append((old.name, new.name))

    breaker = run.breaker(listeners=[Duck()], fail_max=1)
    run.call(breaker, 1, BAD, 1)


SCENARIOS = [
    successes,
    failures_then_a_success,
    trip_and_reject,
    trip_with_the_original_error,
    fail_max_of_one,
    probe_succeeds,
    probe_fails,
    probe_fails_with_the_original_error,
    success_threshold_of_two,
    success_threshold_broken_by_a_failure,
    excluded_types,
    excluded_predicates,
    excluded_in_half_open,
    exclusions_that_change,
    by_hand,
    by_hand_keeps_original_error,
    opened_by_hand_rejects,
    closed_by_hand_after_a_trip,
    decorated,
    blocks,
    generators,
    settings_that_change,
    names,
    listeners_that_come_and_go,
    two_breakers_on_one_circuit,
    a_listener_that_looks,
    a_call_within_a_call,
    old_listeners_by_duck_type,
]


@pytest.fixture(params=["memory", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis | None]:
    if request.param == "memory":
        yield None
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.client() as connected:
        yield connected


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_same_as_pybreaker(scenario: Callable[[Run], None], client: redis.Redis | None) -> None:
    theirs, ours = Run(pybreaker, client), Run(pybreaker_ext, client)
    scenario(theirs)
    scenario(ours)
    assert theirs.log
    assert ours.log == theirs.log


def test_every_public_name_of_pybreaker() -> None:
    others = (
        "CircuitBreakerStorage",
        "CircuitBreakerState",
        "CircuitClosedState",
        "CircuitOpenState",
        "CircuitHalfOpenState",
    )
    for name in (*pybreaker.__all__, *others):
        ours, theirs = getattr(pybreaker_ext, name), getattr(pybreaker, name)
        assert name in pybreaker_ext.__all__
        if inspect.isclass(theirs) and name != "CircuitMemoryStorage":
            assert issubclass(ours, theirs), name
        elif not inspect.isclass(theirs):
            assert ours == theirs


@pytest.mark.parametrize("name", ["CircuitBreaker", "CircuitMemoryStorage", "CircuitRedisStorage"])
def test_positions_and_defaults_of_the_constructors(name: str) -> None:
    theirs = inspect.signature(getattr(pybreaker, name)).parameters
    ours = inspect.signature(getattr(pybreaker_ext, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for parameter in theirs.values():
        if parameter.default is not inspect.Parameter.empty:
            assert ours[parameter.name].default == parameter.default
    later = list(ours.values())[len(theirs) :]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in later)


class TestRedisMultiDB:
    """redis-py's own failover client is built on pybreaker's breaker."""

    def adapter(self, package: ModuleType) -> Any:
        from redis.multidb.circuit import PBCircuitBreakerAdapter  # redis-py 7 and newer

        adapter = PBCircuitBreakerAdapter(package.CircuitBreaker(reset_timeout=60))
        adapter.database = "database"
        return adapter

    def story(self, package: ModuleType) -> list[Any]:
        from redis.multidb.circuit import State

        log: list[Any] = []
        adapter = self.adapter(package)

        def changed(circuit: Any, old: Any, new: Any) -> None:
            log.append((circuit.database, old, new, threading.current_thread().name))

        adapter.on_state_changed(changed)
        log.append(adapter.state)
        for state in (State.OPEN, State.HALF_OPEN, State.CLOSED, State.OPEN, State.CLOSED):
            adapter.state = state
            log.append(adapter.state)
        log.append(adapter.grace_period)
        adapter.grace_period = 5
        log.append(adapter.grace_period)
        return log

    def test_the_same_with_ours(self) -> None:
        assert self.story(pybreaker_ext) == self.story(pybreaker)

    def test_a_callback_may_set_the_state(self) -> None:
        from redis.multidb.circuit import State

        adapter, log = self.adapter(pybreaker_ext), []

        def changed(circuit: Any, old: Any, new: Any) -> None:
            log.append((old.value, new.value, circuit.state.value))
            if new is State.OPEN:
                circuit.state = State.HALF_OPEN

        adapter.on_state_changed(changed)
        adapter.state = State.OPEN
        assert log == [("closed", "open", "open"), ("open", "half-open", "half-open")]
        assert adapter.state is State.HALF_OPEN

    @pytest.mark.filterwarnings("ignore:.*experimental:UserWarning")
    def test_a_whole_multidb_client_fails_over(self, redis_server: RedisServer) -> None:
        from redis.multidb.circuit import PBCircuitBreakerAdapter
        from redis.multidb.client import MultiDBClient
        from redis.multidb.config import DatabaseConfig, MultiDbConfig

        def circuit() -> Any:
            return PBCircuitBreakerAdapter(pybreaker_ext.CircuitBreaker(reset_timeout=60))

        databases = [
            DatabaseConfig(weight=weight, from_url=redis_server.url, circuit=circuit()) for weight in (1.0, 0.5)
        ]
        client = MultiDBClient(MultiDbConfig(databases_config=databases, health_check_interval=3600))
        try:
            assert client.set("key", "value")
            active = max(client.get_databases(), key=lambda item: item[1])[0]
            active.circuit.state = type(active.circuit.state).OPEN
            assert client.get("key") == b"value"
            assert active.circuit.state.name == "OPEN"
        finally:
            client.close()


class TestDifferences:
    """What we do otherwise, on purpose."""

    def test_nothing_is_locked_while_the_function_runs(self) -> None:
        def overlap(breaker: Any, patience: float) -> bool:
            inside = threading.Barrier(2)

            def meet() -> bool:
                try:
                    inside.wait(patience)
                except threading.BrokenBarrierError:
                    return False
                return True

            met: list[bool] = []
            threads = [threading.Thread(target=lambda: met.append(breaker.call(meet))) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return all(met)

        assert not overlap(pybreaker.CircuitBreaker(), 0.2)
        assert overlap(pybreaker_ext.CircuitBreaker(), 30)

    def test_one_probe_and_not_as_many_as_there_are_workers(self, redis_server: RedisServer) -> None:
        """Two breaker objects on one circuit stand for two processes."""

        def probes(package: ModuleType) -> int:
            with redis_server.client() as client:
                client.flushall()
                first, second = (
                    package.CircuitBreaker(
                        reset_timeout=0, state_storage=package.CircuitRedisStorage("closed", client, package.__name__)
                    )
                    for _ in range(2)
                )
                first.open()
                ran = []

                def probe() -> None:
                    ran.append(1)
                    if len(ran) == 1:
                        with contextlib.suppress(pybreaker.CircuitBreakerError):
                            second.call(ran.append, 2)

                first.call(probe)
                return len(ran)

        assert probes(pybreaker) == 2
        assert probes(pybreaker_ext) == 1

    def test_anothers_trip_is_known_a_moment_later(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            for package, settings, state in (
                (pybreaker, {}, "rejected"),
                (pybreaker_ext, {"max_staleness": 600}, "admitted"),
                (pybreaker_ext, {"max_staleness": 0}, "rejected"),
            ):
                client.flushall()
                first, second = (
                    package.CircuitBreaker(state_storage=package.CircuitRedisStorage("closed", client, "n"), **settings)
                    for _ in range(2)
                )
                second.call(int)
                first.open()
                try:
                    second.call(int)
                    seen = "admitted"
                except pybreaker.CircuitBreakerError:
                    seen = "rejected"
                assert seen == state

    def test_noticing_half_open_does_not_forget_successes(self, redis_server: RedisServer) -> None:
        def state_after_two_successes(package: ModuleType) -> str:
            with redis_server.client() as client:
                client.flushall()
                first, second = (
                    package.CircuitBreaker(
                        success_threshold=2,
                        state_storage=package.CircuitRedisStorage("closed", client, package.__name__),
                    )
                    for _ in range(2)
                )
                first.half_open()
                first.call(int)
                second.call(int)
                return second.current_state

        assert state_after_two_successes(pybreaker) == "half-open"
        assert state_after_two_successes(pybreaker_ext) == "closed"

    def test_a_late_success_does_not_close(self) -> None:
        def state_after(breaker: Any) -> str:
            def slow() -> None:
                breaker.open()
                breaker.half_open()
                # this call was admitted while closed; the trial call has not even begun

            breaker.call(slow)
            return breaker.current_state

        plain = pybreaker.CircuitBreaker()
        assert state_after(plain) == "half-open"  # its state object of then still answers
        assert plain.fail_counter == 0
        assert state_after(pybreaker_ext.CircuitBreaker()) == "half-open"

    def test_a_late_failure_does_not_reopen(self) -> None:
        def state_after(breaker: Any) -> str:
            def slow() -> None:
                breaker.open()
                breaker.close()
                raise BackendError

            with pytest.raises((BackendError, pybreaker.CircuitBreakerError)):
                breaker.call(slow)
            return breaker.current_state

        assert state_after(pybreaker.CircuitBreaker(fail_max=1)) == "open"
        assert state_after(pybreaker_ext.CircuitBreaker(fail_max=1)) == "closed"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_is_no_exception_is_no_failure_and_is_not_replaced(self, error: type[BaseException]) -> None:
        with pytest.raises(pybreaker.CircuitBreakerError):
            pybreaker.CircuitBreaker(fail_max=1).call(end, error())
        breaker = pybreaker_ext.CircuitBreaker(fail_max=1)
        with pytest.raises(error):
            breaker.call(end, error())
        assert breaker.fail_counter == 0

    def test_an_abandoned_generator_is_no_failure(self) -> None:
        def failures(breaker: Any) -> int:
            stream = breaker.call(lambda: (number for number in range(3)))
            next(stream)
            stream.close()
            return breaker.fail_counter

        assert failures(pybreaker.CircuitBreaker()) == 1
        assert failures(pybreaker_ext.CircuitBreaker()) == 0

    def test_a_generators_result_is_kept(self) -> None:
        def stream() -> Any:
            yield 1
            return "result"

        def result(breaker: Any) -> Any:
            def outer() -> Any:
                return (yield from breaker.call(stream))

            made = outer()
            next(made)
            with pytest.raises(StopIteration) as stopped:
                next(made)
            return stopped.value.value

        assert result(pybreaker.CircuitBreaker()) is None
        assert result(pybreaker_ext.CircuitBreaker()) == "result"

    def test_a_change_is_told_when_the_name_changes(self) -> None:
        def told(package: ModuleType) -> int:
            run = Run(package, None)
            breaker = run.breaker()
            for action in (
                breaker.open,
                breaker.open,
                breaker.half_open,
                breaker.half_open,
                breaker.close,
                breaker.close,
            ):
                action()
            return len(run.log)

        assert told(pybreaker) == 6
        assert told(pybreaker_ext) == 3

    def test_hooks_are_told_after_the_decision_is_stored(self) -> None:
        def seen(package: ModuleType) -> list[str]:
            states: list[str] = []

            class Listener(pybreaker.CircuitBreakerListener):
                def failure(self, cb: Any, exc: BaseException) -> None:
                    states.append(cb.current_state)

            breaker = package.CircuitBreaker(fail_max=1, listeners=[Listener()])
            with pytest.raises(pybreaker.CircuitBreakerError):
                breaker.call(end, BAD)
            return states

        assert seen(pybreaker) == ["closed"]
        assert seen(pybreaker_ext) == ["open"]

    def test_also_a_state_change(self) -> None:
        """In pybreaker the hook runs before the state is stored, and sees the old one."""

        def seen(package: ModuleType) -> list[str]:
            states: list[str] = []

            class Listener(pybreaker.CircuitBreakerListener):
                def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                    states.append(cb.current_state)

            package.CircuitBreaker(listeners=[Listener()]).open()
            return states

        assert seen(pybreaker) == ["closed"]
        assert seen(pybreaker_ext) == ["open"]

    def test_a_hook_that_raises_does_not_harm_the_call(self, caplog: pytest.LogCaptureFixture) -> None:
        class Listener(pybreaker.CircuitBreakerListener):
            def success(self, cb: Any) -> None:
                raise RuntimeError("hook")

        with pytest.raises(RuntimeError, match="hook"):
            pybreaker.CircuitBreaker(listeners=[Listener()]).call(end, 1)
        assert pybreaker_ext.CircuitBreaker(listeners=[Listener()]).call(end, 1) == 1
        assert "RuntimeError: hook" in caplog.text

    def test_a_success_in_half_open_keeps_the_failures(self) -> None:
        """They are what opened the circuit; a close ends them."""

        def failures(package: ModuleType) -> int:
            breaker = package.CircuitBreaker(fail_max=2, reset_timeout=0, success_threshold=2)
            for _ in range(2):
                with pytest.raises((BackendError, pybreaker.CircuitBreakerError)):
                    breaker.call(end, BAD)
            breaker.call(end, 1)
            return breaker.fail_counter

        assert failures(pybreaker) == 0
        assert failures(pybreaker_ext) == 2

    def test_constructing_does_no_io(self) -> None:
        import servers

        dead = redis.Redis(port=servers.free_port(), retry=None)
        with pytest.raises(redis.ConnectionError):
            pybreaker.CircuitRedisStorage("closed", dead)
        pybreaker_ext.CircuitRedisStorage("closed", dead)

    def test_so_a_breaker_made_in_an_outage_tells_it_at_its_first_look(self, redis_server: RedisServer) -> None:
        def told(package: ModuleType) -> list[Any]:
            with redis_server.client() as client:
                client.flushall()
                run = Run(package, client)
                run.breaker().open()
                run.log.clear()
                run.see(run.breaker())
                return run.log[:-1]

        assert told(pybreaker) == []
        assert told(pybreaker_ext) == [("", "state_change", "closed", "open", "CircuitOpenState")]

    def test_clients_that_decode(self, redis_server: RedisServer) -> None:
        with redis_server.client(decode_responses=True) as client:
            with pytest.raises(AttributeError):
                pybreaker.CircuitBreaker(state_storage=pybreaker.CircuitRedisStorage("closed", client))
            storage = pybreaker_ext.CircuitRedisStorage("closed", client)
            assert pybreaker_ext.CircuitBreaker(state_storage=storage).call(end, 1) == 1
            storage._link._own.close()

    def test_overridden_methods_are_not_called_by_the_machine(self) -> None:
        """pybreaker trips by calling `open()`; we decide in the store, and tell `state_change`."""

        def called(package: ModuleType) -> list[str]:
            calls: list[str] = []

            class Mine(package.CircuitBreaker):  # type: ignore[name-defined]
                def open(self) -> bool:
                    calls.append("open")
                    return super().open()

            with pytest.raises(pybreaker.CircuitBreakerError):
                Mine(fail_max=1).call(end, BAD)
            return calls

        assert called(pybreaker) == ["open"]
        assert called(pybreaker_ext) == []

    def test_the_function_is_given_by_position(self) -> None:
        """So that its own arguments may have any name."""
        assert pybreaker.CircuitBreaker().call(func=int) == 0
        with pytest.raises(TypeError):
            pybreaker_ext.CircuitBreaker().call(func=int)
        with pytest.raises(TypeError):
            pybreaker.CircuitBreaker().call(dict, func=1)
        assert pybreaker_ext.CircuitBreaker().call(dict, func=1) == {"func": 1}

    def test_bad_arguments_are_refused(self) -> None:
        pybreaker.CircuitBreaker(fail_max=0)
        with pytest.raises(ValueError, match="fail_max"):
            pybreaker_ext.CircuitBreaker(fail_max=0)

    def test_an_error_carries_what_a_caller_needs(self) -> None:
        breaker = pybreaker_ext.CircuitBreaker(name="b")
        breaker.open(600)
        with pytest.raises(pybreaker.CircuitBreakerError) as caught:
            breaker.call(end, 1)
        assert caught.value.breaker_name == "b"
        assert 599 < caught.value.retry_after <= 600
        assert not hasattr(pybreaker.CircuitBreakerError(), "retry_after")

    def test_a_wrong_clock_opens_no_longer(self, redis_server: RedisServer) -> None:
        """A plain worker whose clock is an hour ahead keeps plain ones out for an hour."""
        with redis_server.client() as client:
            plain = pybreaker.CircuitRedisStorage("closed", client)
            plain.opened_at = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 3600, UTC)
            plain.state = "open"
            storage = pybreaker_ext.CircuitRedisStorage("closed", client)
            breaker = pybreaker_ext.CircuitBreaker(reset_timeout=30, state_storage=storage)
            assert 0 < breaker.retry_after <= 30
            storage._link._own.close()

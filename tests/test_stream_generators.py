"""A guarded generator is told from a plain one by nothing: the same story, driven alike, shows the same."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from colours import COLOURS
from hypothesis import given, settings
from hypothesis import strategies as st

from pybreaker_ext import CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Iterator


class OneError(Exception):
    pass


class OtherError(Exception):
    pass


class BaseError(BaseException):
    pass


ERRORS = (OneError, OtherError, BaseError, StopIteration, StopAsyncIteration, ValueError, asyncio.CancelledError)
#: What a step catches of what is thrown in.
CAUGHT = {"nothing": (), "one": OneError, "errors": Exception, "all": BaseException}

yields = st.tuples(
    st.just("yield"),
    st.integers(0, 9),
    st.sampled_from(sorted(CAUGHT)),
    st.sampled_from(["go on", "raise another", "raise from it", "raise it", "return"]),
)
steps = st.one_of(
    yields,
    st.tuples(st.just("echo")),
    st.tuples(st.just("raise"), st.sampled_from((*ERRORS, GeneratorExit))),
    st.tuples(st.just("return"), st.integers(0, 9)),
)
actions = st.one_of(
    st.just(("next",)),
    st.tuples(st.just("send"), st.none() | st.integers(10, 19)),
    st.tuples(st.just("throw"), st.sampled_from(ERRORS)),
    st.just(("close",)),
)


@dataclass(frozen=True)
class Script:
    """What a generator does; the two colours differ by what generators of theirs can do."""

    steps: list[Any]
    finally_: str

    def plain(self, log: list[Any]) -> Any:
        with self.ending(log):
            got: Any = None
            for step in self.steps:
                match step:
                    case ("echo",):
                        got = yield got
                    case ("yield", chunk, caught, then):
                        try:
                            got = yield chunk
                            log.append(got)
                        except CAUGHT[caught] as error:
                            if self.answers(then, error, log):
                                return "caught"
                    case ("return", value):
                        return value
                    case (_, error):
                        raise error
            return "end"

    async def asynchronous(self, log: list[Any]) -> Any:
        with self.ending(log):
            got: Any = None
            for step in self.steps:
                match step:
                    case ("echo",):
                        got = yield got
                    case ("yield", chunk, caught, then):
                        try:
                            got = yield chunk
                            log.append(got)
                        except CAUGHT[caught] as error:
                            await asyncio.sleep(0)
                            if self.answers(then, error, log):
                                return
                    case ("return", _):
                        return
                    case (_, error):
                        raise error

    def answers(self, then: str, error: BaseException, log: list[Any]) -> bool:
        """Do what is to be done with what was thrown in; tell whether the generator returns."""
        log.append(type(error))
        if isinstance(error, GeneratorExit):  # no generator may ignore it
            raise error
        match then:
            case "raise another":
                raise OtherError
            case "raise from it":
                raise OtherError from error
            case "raise it":
                raise error
        return then == "return"

    @contextlib.contextmanager
    def ending(self, log: list[Any]) -> Iterator[None]:
        """Do what stands in the `finally` of a generator."""
        try:
            yield
        except BaseException:
            log.append("ended by an error")
            if self.finally_ == "swallows":
                return
            raise
        finally:
            if self.finally_ == "raises":
                raise ValueError("in the finally")


scripts = st.builds(Script, st.lists(steps, max_size=6), st.sampled_from(["nothing", "swallows", "raises"]))


def told(error: BaseException | None) -> Any:
    return error and (type(error), error.args, told(error.__cause__))


async def driven(colour: Any, stream: Any, script: list[Any]) -> list[Any]:
    """Return what each of the actions showed."""
    shown: list[Any] = []
    for name, *arguments in script:
        values = [value() if isinstance(value, type) else value for value in arguments]
        try:
            shown.append(await getattr(colour, name)(stream, *values))
        except BaseException as error:  # noqa: BLE001  the generator's, or what the consumer has thrown
            shown.append((told(error), getattr(error, "value", None)))
    return shown


class TestTheSame:
    @pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
    @pytest.mark.parametrize("way", ["decorated", "stream", "stream of what is returned"])
    def test_is_shown(self, colour: Any, way: str) -> None:
        @settings(max_examples=150)
        @given(scripts, st.lists(actions, max_size=8))
        def compare(script: Script, driver: list[Any]) -> None:
            assert shown(script, driver, guarded=True) == shown(script, driver, guarded=False)

        def shown(script: Script, driver: list[Any], *, guarded: bool) -> Any:
            log: list[Any] = []
            breaker = CircuitBreaker(fail_max=1000, throw_new_error_on_trip=False)
            function = colour.function(script)
            ways: Any = {
                "decorated": lambda: breaker(function)(log),
                "stream": lambda: breaker.stream(function, log),
                "stream of what is returned": lambda: breaker.stream(lambda: function(log)),
            }

            async def story() -> Any:
                stream = ways[way]() if guarded else function(log)
                found = await driven(colour, stream, driver)
                with contextlib.suppress(BaseException):
                    await colour.close(stream)
                return found, list(log)

            return colour.run(story())

        compare()

"""Histories of real processes have an order that the machine explains, and the check finds those that have none.

See docs/explanation/linearizability.md. The long run is `python tests/linearizability`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from fleet import Fleet, fleet_of
from linearizability import broken, checker, rounds
from linearizability.account import Account
from linearizability.checker import NotLinearizableError, linearized
from linearizability.history import NEVER, Call, History, Operation
from linearizability.rounds import Round, TooCalmError
from linearizability.strikes import (
    BLOCK,
    FAULTS,
    FLUSH_SCRIPTS,
    KILL_AFTER,
    KILL_BEFORE,
    KILL_CLIENTS,
    LOSE,
    PROCESSES,
    STOP,
)
from linearizability.traffic import ASYNC, SYNC
from linearizability.views import StaleError, Timeline, check_views

from pybreaker_ext.machine import Event, Policy, decide
from pybreaker_ext.storage.history import Change

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import RedisServer

SEEDS = range(6)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleet_of(PROCESSES) as running:
        yield running


def url_of(kind: str, request: pytest.FixtureRequest, path: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{path}/circuits.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.mark.parametrize(
    ("kind", "colour", "max_staleness"),
    [
        ("redis", SYNC, 0.0),
        ("redis", ASYNC, 0.0),
        ("redis", SYNC, 0.1),
        ("sqlite", SYNC, 0.0),
        ("sqlite", ASYNC, 0.1),
    ],
)
def test_what_eight_processes_were_told_has_an_order(
    kind: str, colour: str, max_staleness: float, fleet: Fleet, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """While workers are stopped and killed, answers, scripts and records are lost, and the store is silent."""
    faults = {KILL_BEFORE: 1, KILL_AFTER: 1, STOP: 1, BLOCK: 1, LOSE: 1}
    if kind == "redis":
        faults |= {FLUSH_SCRIPTS: 2, KILL_CLIENTS: 1}
    assert faults.keys() <= set(FAULTS[kind])
    todo = Round(
        url_of(kind, request, tmp_path), "circuit", colour, max_staleness, 0.8, 1, faults, patience=0.1, retry=0.1
    )
    report = rounds.check(rounds.play(todo, fleet, tmp_path), todo)
    assert report.operations > 20
    assert report.changes > 0
    assert max_staleness or not report.viewed


def test_a_real_store_that_reads_and_then_writes_is_found_out(fleet: Fleet, tmp_path: Path) -> None:
    """An SQLite storage whose decisions take two transactions."""
    url = f"sqlite:///{tmp_path}/circuits.db"
    todo = Round(url, "circuit", SYNC, 0.0, 1.0, 1, work=broken.work_on_an_unlocked_file)
    history = rounds.play(todo, fleet, tmp_path)
    with pytest.raises(NotLinearizableError):
        rounds.check(history, todo)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_stores_history_has_an_order(seed: int) -> None:
    operations = broken.history_of(broken.sound, seed)
    steps = linearized(operations)
    assert len(steps) == len(operations)
    rounds.check_generations(steps)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_operation_without_an_answer_may_have_happened(seed: int) -> None:
    operations = broken.history_of(broken.sound, seed, unanswered=0.1)
    steps = linearized(operations)
    rounds.check_losses(
        sum(not operation.answered for operation in operations), sum(not step.operation.answered for step in steps)
    )


@pytest.mark.parametrize(("unanswered", "happened"), [(0, 0), (3, 0), (3, 3)])
def test_a_round_without_lost_answers_shows_nothing(unanswered: int, happened: int) -> None:
    """Nor does one in which all of their operations have happened, or none."""
    rounds.check_losses(3, 1)
    with pytest.raises(TooCalmError):
        rounds.check_losses(unanswered, happened)


def test_a_round_in_which_nothing_happened_shows_nothing(tmp_path: Path) -> None:
    todo = Round(f"sqlite:///{tmp_path}/circuits.db", "circuit", SYNC, 0.0, 1.0, 1, {LOSE: 1})
    with pytest.raises(TooCalmError):
        rounds.check(History(), todo)


@pytest.mark.parametrize("unanswered", [0.0, 0.05])
@pytest.mark.parametrize("name", broken.BROKEN)
def test_a_broken_stores_history_has_none(name: str, unanswered: float) -> None:
    """Also when operations without an answer could explain much."""
    found = 0
    for seed in SEEDS:
        try:
            rounds.check_generations(linearized(broken.history_of(broken.BROKEN[name], seed, unanswered=unanswered)))
        except checker.UndecidedError:
            raise
        except AssertionError:
            found += 1
    assert found >= len(SEEDS) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_one_wrong_answer_is_enough(seed: int) -> None:
    """Whichever part of it is wrong; with one client, so that no other order could explain it."""
    luck = random.Random(seed)
    for _ in range(10):
        operations = broken.history_of(broken.sound, seed, clients=1, length=100)
        place = luck.choice([n for n, each in enumerate(operations) if each.decision is not None])
        operations[place] = falsified(operations[place], luck)
        with pytest.raises(NotLinearizableError):
            linearized(operations)


def falsified(operation: Operation, luck: random.Random) -> Operation:
    decision = operation.decision
    assert decision is not None
    record = decision.after
    wrong: list[dict[str, Any]] = [
        {"verdict": "dropped" if decision.verdict != "dropped" else "counted"},
        {"old_state": "closed" if decision.old_state != "closed" else "open"},
        {"old_generation": decision.old_generation - 2_000},
        {"retry_after": decision.retry_after + 1},
        {"after": record._replace(fail_counter=record.fail_counter + 1)},
        {"after": record._replace(success_counter=record.success_counter + 1)},
        {"after": record._replace(trips=record.trips + 1)},
        {"after": record._replace(open_until=record.open_until + 1)},
        {"after": record._replace(permits={**record.permits, "nobody": 1})},
        {"after": record._replace(generation=record.generation + 1)},
    ]
    return operation._replace(decision=decision._replace(**luck.choice(wrong)))


def operation(began: int, ended: int, kind: str, record: Any, now: int, **fields: Any) -> Operation:
    event = Event(kind, **fields)
    return Operation(began, ended, event, Policy(), decide(record, event, Policy(), now))


MS = 1_000_000
NOW = broken.BEGIN


def test_what_ended_before_something_began_comes_before_it() -> None:
    """The same three operations, with an answer that only the other order explains."""
    opened = operation(10, 20, "open", None, NOW, duration=1_000)
    assert opened.decision
    closed = operation(30, 40, "close", opened.decision.after, NOW + 1_000)
    assert closed.decision
    look = operation(50, 60, "read", opened.decision.after, NOW + 500)
    assert len(linearized([opened, closed, look._replace(began=25)])) == 3
    with pytest.raises(NotLinearizableError, match="after 2 of them"):
        linearized([opened, closed, look])


def shared_history(*calls: Call) -> tuple[History, dict[str, list[Timeline]]]:
    """A circuit that is closed until 100 ms and open until 10 s, by orders of a process called a."""
    closed = operation(0, 1 * MS, "close", None, NOW)
    assert closed.decision
    opened = operation(100 * MS, 101 * MS, "open", closed.decision.after, NOW + 100_000, duration=10_000)
    history = History([closed, opened], list(calls))
    timeline = Timeline(linearized(history.operations))
    return history, {"a": [timeline], "b": [timeline]}


def call(began: int, outcome: str = "success", *, ran: bool = True) -> Call:
    """A call of the process b that begins at so many milliseconds."""
    wall = NOW // 1000 + began
    first = began * MS
    return Call("b", 7, first, wall, first + 1 if ran else None, first + 2 if ran else None, first + 3, outcome)


@pytest.mark.parametrize(
    ("when", "outcome", "ran"), [(50, "success", True), (190, "success", True), (110, "rejected", False)]
)
def test_a_view_may_decide_what_the_store_said_a_moment_ago(when: int, outcome: str, ran: bool) -> None:
    assert check_views(*shared_history(call(when, outcome, ran=ran)), 0.1) == {"asked": 0, "viewed": 1}


@pytest.mark.parametrize(
    ("when", "outcome", "ran"),
    [(202, "success", True), (90, "rejected", False), (10_200, "rejected", False), (50, "failure", True)],
    ids=["admitted too late", "rejected too early", "rejected too late", "failure not reported"],
)
def test_a_view_may_decide_nothing_else(when: int, outcome: str, ran: bool) -> None:
    with pytest.raises(StaleError):
        check_views(*shared_history(call(when, outcome, ran=ran)), 0.1)


def test_without_staleness_every_call_asks() -> None:
    with pytest.raises(StaleError):
        check_views(*shared_history(call(50)), 0.0)


def test_a_loss_that_nobody_made_is_none() -> None:
    """A record that begins anew without a loss, and one that does with it."""
    first = operation(0, 10, "open", None, NOW, duration=1)
    again = operation(20, 30, "ask", None, NOW + 5_000, token="t")
    lost = Operation(12, 15, Event("lose"))
    assert len(linearized([first, lost, again])) == 3
    with pytest.raises(NotLinearizableError):
        linearized([first, again])
    assert len(linearized([first, lost._replace(ended=NEVER), again])) == 3


@pytest.mark.parametrize(
    ("kept", "happened"),
    [([(5, "open"), (6, "half-open")], 2), ([(6, "open")], 1), ([(5, "open")], None)],
    ids=["both", "only the second", "only the first"],
)
def test_a_change_that_nobody_was_told_stands_in_the_stores_own_account(
    kept: list[tuple[int, str]], happened: int | None
) -> None:
    """An ask makes an open circuit half-open, and an order of half-open comes in the next millisecond."""
    opened = operation(0, 1, "open", None, NOW, duration=1)
    asked = operation(2, 3, "ask", record_after(opened), NOW + 5_000, token="t")
    ordered = operation(4, 5, "half_open", record_after(asked), NOW + 6_000)
    seen = operation(6, 7, "read", record_after(ordered), NOW + 7_000)
    operations = [opened, *(each._replace(ended=NEVER, decision=None) for each in (asked, ordered)), seen]
    first = Change(NOW // 1_000, "closed", "open", "manual", "w")
    account = Account([first, *(Change(first.at + at, old, "half-open", "manual", "w") for at, old in kept)])
    if happened is None:
        with pytest.raises(NotLinearizableError):
            linearized(operations, account=account)
    else:
        assert len(linearized(operations, account=account)) == 2 + happened


def test_what_happened_before_a_loss_without_a_trace_explains_nothing() -> None:
    """Where only a loss may come next, there is no answer to look for."""
    asked = operation(0, 1, "ask", None, NOW, token="t")
    failed = Operation(2, NEVER, Event("failure", "t", record_after(asked).generation), Policy())
    lost = Operation(3, 4, Event("lose"))
    seen = operation(5, 6, "read", record_after(asked), NOW + 1_000)
    with pytest.raises(NotLinearizableError):
        linearized([asked, failed, lost, seen])


def record_after(done: Operation) -> Any:
    assert done.decision
    return done.decision.after

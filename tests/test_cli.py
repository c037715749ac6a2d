"""The command line, in a real terminal and on real stores, with worker processes at work."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
import servers
import terminal
from fleet import until

from pybreaker_ext import CircuitBreakerRegistry, cli
from pybreaker_ext.cli import bench, words
from pybreaker_ext.cli.timeline import strip
from pybreaker_ext.snapshot import CircuitState, Transition

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = (sys.executable, "-m", "pybreaker_ext")
WORKER = Path(__file__).parent / "circuit_worker.py"

#: A name that would paint, clear, ring, turn the direction, and be markup; DEL is the one that JSON lets through.
EVIL = "\x1b[31mred\x1b]0;title\x07\n[bold]x[/]\u202e\x7f\x9b2J"


@pytest.fixture(params=["sqlite", "redis_server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/circuits.db"
    # A busy machine isn't an outage.
    return f"{request.getfixturevalue(request.param).url}?socket_timeout=5&socket_connect_timeout=5"


@pytest.fixture
def registry(url: str) -> Iterator[CircuitBreakerRegistry]:
    with CircuitBreakerRegistry(url, worker="api-1") as made:
        yield made


@pytest.fixture
def run(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process; return its exit code, and what it has printed."""
    monkeypatch.setenv("PYBREAKER_EXT_URL", url)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        return (code, *capsys.readouterr())

    return run


@contextlib.contextmanager
def workers(url: str, name: str, number: int = 3) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that call a failing backend through one circuit."""
    command = [sys.executable, str(WORKER), url, name]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, f"web-{count}"], **pipes) for count in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.communicate()


def wait_for(processes: list[subprocess.Popen[str]], outcome: str) -> None:
    """Wait until each worker has had an outcome."""
    for process in processes:
        assert process.stdout is not None
        while process.stdout.read(1) != outcome:
            assert process.poll() is None


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") for letter in text.replace("\n", ""))


def fail() -> None:
    raise ConnectionError


def test_a_circuit_is_watched_and_set_while_its_workers_run(url: str, registry: CircuitBreakerRegistry) -> None:
    """They trip it, somebody closes it, they trip it again, somebody opens it for two hours."""
    environment = {"PYBREAKER_EXT_URL": url}
    with workers(url, "payments") as processes:
        wait_for(processes, "r")
        with terminal.running([*COMMAND, "watch", "--interval", "0.2"], environment) as watch:
            seen = watch.wait_for(" 1 open", "payments", "in 9m", "6 failed", "failures, web-", "Ctrl-C ends this")
            assert max(map(len, seen.splitlines())) <= 80

            subprocess.run([*COMMAND, "close", "payments", "--url", url], check=True, stdout=subprocess.DEVNULL)
            until(lambda: len(registry.get("payments").history()) == 3)  # they have tripped it again
            watch.wait_for(" 1 open", "6 failed")

            with terminal.running([*COMMAND, "open", "payments", "--for", "2h"], environment) as screen:
                screen.wait_for("'payments': open for 2h, was open")
                assert screen.end() == 0
            watch.wait_for("in 1h59m", "manual, ")
            wait_for(processes, "r")
            check_the_timeline(environment)

            watch.send("\x03")
            assert watch.end() == 0
            assert b"\x1b[?1049l" in watch.raw[-40:]  # back to the screen that was there before
            assert b"\x1b[?25h" in watch.raw[-40:]  # the cursor, too
            assert b"Traceback" not in watch.raw


def check_the_timeline(environment: dict[str, str]) -> None:
    with terminal.running([*COMMAND, "history", "payments"], environment) as screen:
        seen = screen.wait_for("last 4 changes", "when", "by hand")
        assert screen.end() == 0
    assert max(map(len, seen.splitlines())) <= 80
    assert "█" in seen.splitlines()[2]
    rows = seen.split(" by\n")[1].splitlines()
    states = [row.split()[2:4] for row in rows]
    assert states == [["closed", "open"], ["open", "closed"], ["closed", "open"], ["open", "open"]]
    assert re.search(r" failures +web-\d$", rows[0])
    assert re.search(r" by hand +\S+@", rows[1])


def test_list_show_and_check_in_a_terminal(url: str, registry: CircuitBreakerRegistry) -> None:
    registry.get("openai/gpt-4o:eu-west/some-very-long-tenant").open()
    registry.get("mail", fail_max=5).call(int)
    for name in ("list", "show", "check"):
        command = [*COMMAND, name, *(["*"] if name != "list" else []), "--url", url]
        with terminal.running(command) as screen:
            seen = screen.wait_for("openai/gpt-4o:eu-w", "mail" if name != "check" else "CRITICAL")
            assert screen.end() == (2 if name == "check" else 0)
        if name != "check":
            assert max(map(len, seen.splitlines())) <= 80
            assert b"\x1b[1;38;5;231;48;5;160m open " in screen.raw
    with terminal.running([*COMMAND, "list", "--url", url], {"NO_COLOR": "1"}) as screen:
        screen.end()
        assert b"160m" not in screen.raw


def test_watch_goes_on_when_its_store_is_back() -> None:
    with (
        servers.running_redis() as redis,
        redis.client() as client,
        terminal.running([*COMMAND, "watch", "--interval", "0.2", "--url", redis.url]) as watch,
    ):
        watch.wait_for("No circuits yet.")
        client.set("a:pybreaker:state", "open")
        watch.wait_for("a  ", " 1 open", "unknown")
        redis.kill()
        watch.wait_for("Trying again", "refused", "a  ")
        redis.start()
        client.set("b:pybreaker:state", "half-open")
        watch.wait_for("b  ", " 1 half-open", " 0 open")
        watch.send("\x03")
        assert watch.end() == 0


def test_several_are_asked_about(url: str, registry: CircuitBreakerRegistry) -> None:
    for name in ("a1", "a2", "b"):
        registry.get(name).call(int)
    environment = {"PYBREAKER_EXT_URL": url}
    with terminal.running([*COMMAND, "open", "a*"], environment) as screen:
        screen.wait_for("'a1', 'a2'", "Open these 2 circuits? [y/N]")
        screen.send("n\r")
        assert screen.end() == 1
        assert "nothing was changed" in screen.text
    assert registry.get("a1").current_state == "closed"
    with terminal.running([*COMMAND, "open", "a*"], environment) as screen:
        screen.wait_for("Open these 2 circuits? [y/N]")
        screen.send("y\r")
        screen.wait_for("'a2': open until somebody closes it, was closed")
        assert screen.end() == 0
    assert [registry.get(name).current_state for name in ("a1", "a2", "b")] == ["open", "open", "closed"]
    with terminal.running([*COMMAND, "close", "a*"], environment) as screen:
        screen.wait_for("Close these 2 circuits? [y/N]")
        screen.send("\x03")
        assert screen.end() == 130
    assert registry.get("a1").current_state == "open"


def test_without_a_terminal_several_need_a_yes(run: Any, registry: CircuitBreakerRegistry, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in ("a1", "a2"):
        registry.get(name).call(int)
    code, out, err = run("half-open", "*")
    assert (code, out) == (2, "")
    assert err == "pybreaker-ext: this would half-open 2 circuits ('a1', 'a2'); say --yes if it should\n"
    assert registry.get("a1").current_state == "closed"
    code, out, err = run("half-open", "*", "--yes")
    assert (code, out, err) == (0, "'a1': half-open, was closed\n'a2': half-open, was closed\n", "")
    assert registry.get("a1").history()[-1].worker.count("@") == 1
    assert run("reset", "a1")[:2] == (0, "'a1': closed, was half-open\n")
    assert run("open", "a2", "--for", "90")[:2] == (0, "'a2': open for 1m30s, was half-open\n")
    assert run("close", "a1", "a1")[:2] == (0, "'a1': closed, was closed\n")


def test_json_is_for_scripts(run: Any, registry: CircuitBreakerRegistry) -> None:
    registry.get("a").open(60)
    registry.get("b").open(float("inf"))
    registry.get(EVIL).call(int)
    code, out, _ = run("list", "--json")
    evil, first, second = json.loads(out)
    assert (code, evil["name"], first["name"], second["name"]) == (0, EVIL, "a", "b")
    assert is_harmless(out)
    assert first["open_until"] == pytest.approx(first["since"] + 60, abs=0.1)
    assert (second["open_until"], second["until_closed_by_hand"], second["reason"]) == (None, True, "manual")
    assert json.loads(run("show", "a", "--json")[1])[0].keys() == first.keys()
    assert json.loads(run("watch", "--json", "--count", "1")[1])[-1]["state"] == "closed"
    (change,) = json.loads(run("history", "a", "--json")[1])
    assert (change["from"], change["to"], change["reason"], change["worker"]) == ("closed", "open", "manual", "api-1")
    assert json.loads(run("close", "a", "--json")[1])[0]["state"] == "closed"
    code, out, _ = run("check", "*", "--json")
    assert (code, json.loads(out)["status"], json.loads(out)["code"]) == (2, "CRITICAL", 2)


@pytest.mark.parametrize(("name", "shown"), [("", ""), ("  ", "'  '"), (" \u3000", "' \\u3000'"), (" a", " a")])
def test_blanks_alone_are_put_between_quotes(name: str, shown: str) -> None:
    assert words.printable(name) == shown


def test_names_can_do_a_terminal_no_harm(run: Any, registry: CircuitBreakerRegistry, capsys: Any) -> None:
    registry.get(EVIL).open()
    shown = words.printable(EVIL)
    assert shown == "\\x1b[31mred\\x1b]0;title\\x07\\n[bold]x[/]\\u202e\\x7f\\x9b2J"
    for command in (
        ("list",),
        ("show", "*"),
        ("watch", "--count", "1"),
        ("history", "*"),
        ("check", "*"),
        ("close", "*"),
        ("close", EVIL),
        ("show", EVIL + "?"),
    ):
        _, out, err = run(*command)
        assert is_harmless(out + err), command
        assert shown in out + err, command


def test_history_of_a_foreign_hand_can_do_a_terminal_no_harm(redis_server: servers.RedisServer, capsys: Any) -> None:
    with redis_server.client() as client:
        client.set("a:pybreaker:state", "closed")
        entry = {"at": 1000, "from": "open", "to": "closed", "reason": "\x1b[31m", "worker": "\x1b[2J"}
        client.xadd("a:pybreaker:history", entry)
    for command in ("history", "list", "show", "check"):
        cli.main([command, *["a"] * (command != "list"), "--url", redis_server.url])
        assert is_harmless(capsys.readouterr().out)


def test_check_is_for_monitoring(run: Any, registry: CircuitBreakerRegistry) -> None:
    registry.get("a").call(int)
    registry.get("b|c").call(int)
    code, out, err = run("check", "a")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"CIRCUITS OK - a closed for \d+s \| closed=1 half_open=0 open=0\n", out)
    assert run("check", "*")[:2] == (0, "CIRCUITS OK - all 2 closed | closed=2 half_open=0 open=0\n")
    registry.get("a").half_open()
    code, out, _ = run("check", "*")
    assert code == 1
    assert re.match(r"CIRCUITS WARNING - a half-open for \d+s \(manual\) \| closed=1 half_open=1 open=0\n", out)
    registry.get("b|c").open(60)
    code, out, _ = run("check", "a", "b*")
    assert code == 2
    assert re.match(r"CIRCUITS CRITICAL - b¦c open for \d+s \(manual, probe: in (1m|59s)\) \| closed=0", out)
    registry.get("b|c").open(0)
    code, out, _ = run("check", "b*")
    assert code == 1
    assert re.match(r"CIRCUITS WARNING - b¦c open for \d+s \(manual, probe: due\)", out)
    code, out, err = run("check", "a", "missing")
    assert (code, err) == (3, "")
    assert out.startswith("CIRCUITS UNKNOWN - no circuit 'missing' in ")


def test_whatever_is_wrong_check_never_says_critical(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("PYBREAKER_EXT_URL", raising=False)
    for arguments in (
        (),
        ("a",),
        ("a", "--url", f"redis://127.0.0.1:{servers.free_port()}/0"),
        ("a", "--url", "mysql://user:secret@host"),
        ("a", "--colour"),
    ):
        assert cli.main(["check", *arguments]) == 3
        shown = capsys.readouterr()
        assert shown.out.startswith("CIRCUITS UNKNOWN - ")
        assert shown.out.count("\n") == 1
        assert "secret" not in shown.out + shown.err


@pytest.mark.parametrize("command", ["list", "show", "watch", "history", "open", "half-open", "close", "reset"])
def test_a_store_that_cannot_be_used_is_one_line(command: str, capsys: Any, tmp_path: Path) -> None:
    for url in (
        f"redis://user:secret@127.0.0.1:{servers.free_port()}/0",
        f"sqlite:///{tmp_path}/missing.db",
        f"redis+cluster://127.0.0.1:{servers.free_port()}",
        f"redis+sentinel://127.0.0.1:{servers.free_port()}/main",
    ):
        code = cli.main([command, *["a"] * (command not in ("list", "watch")), "--url", url])
        shown = capsys.readouterr()
        assert (code, shown.out, shown.err.count("\n")) == (3, "", 1)
        assert shown.err.startswith("pybreaker-ext: can't use ")
        assert "secret" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_goes_away_while_circuits_are_set_is_told(capsys: Any, monkeypatch: Any) -> None:
    with servers.running_redis("--maxmemory", "100mb") as redis, redis.client() as client:
        client.set("a:pybreaker:state", "closed")
        client.config_set("min-replicas-to-write", 1)
        assert cli.main(["open", "a", "--url", redis.url]) == 3
        assert capsys.readouterr().err.startswith("pybreaker-ext: can't set 'a' in redis://127")
        assert client.get("a:pybreaker:state") == b"closed"


@pytest.mark.parametrize("command", ["open a", "close a", "reset a", "bench", "demo --seconds 5"])
def test_a_store_that_takes_no_writes_is_one_line(command: str) -> None:
    """Nothing but the command's own line, in a process where nobody has set up logging; and no stand-in is measured."""
    with servers.running_redis() as redis, redis.client() as client:
        client.set("a:pybreaker:state", "closed")
        client.config_set("min-replicas-to-write", 1)
        done = subprocess.run(
            [*COMMAND, *command.split(), "--url", redis.url], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == (2 if command.startswith("demo") else 3)
        assert done.stdout == ""
        assert re.fullmatch(r"python -m pybreaker_ext.*: can't (use|set 'a' in) redis://127\S+: .*\n", done.stderr)
        assert done.stderr.rstrip().endswith("Not enough good replicas to write.")


def test_a_wrong_command_line_says_what_is_right(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv("PYBREAKER_EXT_URL", raising=False)
    here = f"sqlite:///{tmp_path}/circuits.db"
    for arguments, told in (
        (["list"], "Say where the circuits are: --url redis://localhost:6379/0"),
        (["list", "--url", "memory://"], "url must not be memory://"),
        (["list", "--url", "localhost:6379"], "url must begin with memory://, sqlite:///file.db, redis://"),
        (["open", "a", "--for", "soon", "--url", here], "must be a duration such as 90s, 10m or 1h30m, not 'soon'"),
        (["open", "a", "--for", "-5", "--url", here], "must be a duration such as"),
        (["open", "--url", here], "Missing argument 'NAME...'"),
        (["bench", "--url", here], "must be a Redis"),
        (["lst"], "No such command 'lst'"),
        (["watch", "--interval", "0", "--url", here], "0 is not in the range"),
        (["watch", "--interval", "nan", "--url", here], "must be a number of seconds from 0.2 to 3600"),
        (["history", "a", "--limit", "9" * 20, "--url", here], "is not in the range"),
    ):
        assert cli.main(arguments) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("PYBREAKER_EXT_URL", "mysql://user:secret@host")
    assert cli.main(["list"]) == 2
    shown = capsys.readouterr().err
    assert "PYBREAKER_EXT_URL" in shown
    assert "secret" not in shown


def test_a_name_that_is_not_there_is_told_with_its_neighbours(run: Any, registry: CircuitBreakerRegistry) -> None:
    registry.get("payments").call(int)
    code, out, err = run("open", "paymets")
    assert (code, out) == (1, "")
    assert err.startswith("pybreaker-ext: no circuit 'paymets' in ")
    assert err.endswith("; did you mean 'payments'?\n")
    assert run("list", "x*")[0] == 1
    assert registry.stored().names() == ("payments",)


def test_a_name_is_taken_as_it_is_before_it_is_a_glob(run: Any, registry: CircuitBreakerRegistry) -> None:
    registry.get("a*").call(int)
    registry.get("ab").call(int)
    registry.get("[x]").call(int)
    assert run("open", "a*")[1].startswith("'a*': open")
    assert registry.get("ab").current_state == "closed"
    assert run("open", "[x]")[0] == 0


def test_reading_changes_nothing(redis_server: servers.RedisServer, capsys: Any) -> None:
    with CircuitBreakerRegistry(redis_server.url) as registry, redis_server.client() as client:
        registry.get("due").open(0)
        client.set("plain:pybreaker:state", "open")
        before = {key: client.dump(key) for key in client.scan_iter()}
        client.config_resetstat()
        for command in ("list", "show *", "watch --count 2 --interval 0.2", "history due", "check *"):
            cli.main([*command.split(), "--url", redis_server.url])
        assert {key: client.dump(key) for key in client.scan_iter()} == before
        commands = client.info("commandstats")
        assert "cmdstat_keys" not in commands
        assert commands["cmdstat_scan"]["calls"] > 0


def test_plain_pybreakers_circuits_are_shown_and_set(redis_server: servers.RedisServer, capsys: Any) -> None:
    with redis_server.client() as client:
        storage = pybreaker.CircuitRedisStorage("closed", client, namespace="old")
        plain = pybreaker.CircuitBreaker(state_storage=storage)
        nameless = pybreaker.CircuitRedisStorage("closed", client)
        assert cli.main(["list", "--url", redis_server.url]) == 0
        assert re.search(r"^\(no namespace\) +closed", capsys.readouterr().out, re.MULTILINE)
        assert cli.main(["open", "old", "", "--yes", "--url", redis_server.url]) == 0
        assert "the circuit without a namespace: open until" in capsys.readouterr().out
        with pytest.raises(pybreaker.CircuitBreakerError):
            plain.call(int)
        assert nameless.state == "open"


@pytest.mark.parametrize("kind", ["redis_cluster", "redis_sentinels"])
def test_clusters_and_sentinels(kind: str, request: pytest.FixtureRequest, capsys: Any) -> None:
    store = request.getfixturevalue(kind)
    store.clear()
    with CircuitBreakerRegistry(store.url) as registry:
        for number in range(8):
            registry.get(f"claude-{number}").call(int)
        assert cli.main(["open", "claude-?", "--yes", "--url", store.url]) == 0
        assert [registry.get(f"claude-{number}").current_state for number in range(8)] == ["open"] * 8
        capsys.readouterr()
        assert cli.main(["check", "claude-7", "--url", store.url]) == 2
        assert cli.main(["history", "claude-7", "--url", store.url]) == 0
        assert "by hand" in capsys.readouterr().out


def test_demo_and_console_script_are_one_program(capsys: Any) -> None:
    help_text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Usage: python -m pybreaker_ext" in help_text
    assert cli.main(["--help"]) == 0
    assert help_text.replace("python -m pybreaker_ext", "pybreaker-ext").split() == capsys.readouterr().out.split()
    assert re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", help_text, re.MULTILINE) == list(cli.SUMMARIES)


def complete(words_so_far: str, **variables: str) -> list[str]:
    environment = {
        **os.environ,
        "_PYBREAKER_EXT_COMPLETE": "bash_complete",
        "COMP_WORDS": words_so_far,
        "COMP_CWORD": str(words_so_far.count(" ")),
        **variables,
    }
    program = "import sys; from pybreaker_ext.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_shells_complete_commands_options_and_names(url: str, registry: CircuitBreakerRegistry) -> None:
    for name in ("payments", "parcels", "mail", "p\x1b"):
        registry.get(name).call(int)
    assert complete("pybreaker-ext h") == ["history", "half-open"]
    assert complete("pybreaker-ext demo --w") == ["--workers"]
    assert complete("pybreaker-ext open p", PYBREAKER_EXT_URL=url) == ["parcels", "payments"]
    assert complete(f"pybreaker-ext open --url {url} p") == ["parcels", "payments"]
    assert complete("pybreaker-ext open p", PYBREAKER_EXT_URL="nonsense") == []


def test_without_the_extra_the_rest_says_what_to_install(capsys: Any, monkeypatch: Any) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] in ("click", "rich")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [name for name in sys.modules if name.startswith("pybreaker_ext.cli.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "click", None)
    install = 'pip install "pybreaker-ext[cli]"'
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == f"pybreaker-ext: list needs click and rich, which come with: {install}\n"
    assert cli.main(["check", "a"]) == 3
    assert install in capsys.readouterr().out
    assert cli.main(["nonsense"]) == 2
    assert "--help lists them" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "demo       See worker processes" in shown
    assert "* Print the circuits" in shown
    assert install in shown
    assert cli.main([]) == 2


def test_a_command_is_needed(capsys: Any) -> None:
    assert cli.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_bench_measures_and_leaves_nothing(redis_server: servers.RedisServer, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 2)
    assert cli.main(["bench", "--json", "--url", redis_server.url]) == 0
    costs = {row["what"]: row["seconds"] for row in json.loads(capsys.readouterr().out)}
    assert list(costs)[:2] == [bench.BARE, "pybreaker, in memory"]
    assert costs[bench.BARE] < costs["pybreaker_ext, in Redis, strict"]
    with redis_server.client() as client:
        assert client.dbsize() == 0
    assert cli.main(["bench"]) == 0
    assert "pybreaker_ext, in SQLite" in capsys.readouterr().out
    assert cli.main(["bench", "--url", f"redis://127.0.0.1:{servers.free_port()}/0"]) == 3


def test_a_strip_shows_every_probe() -> None:
    def change(at: float, new: str) -> Transition:
        return Transition(at, CircuitState.CLOSED, CircuitState(new), "", "")

    drawn = strip([change(0, "open"), change(4.5, "half-open"), change(4.6, "open"), change(7, "closed")], 10.0, 10)
    assert drawn.plain == "████▅██▂▂▂"


def test_many_circuits_are_summed_up(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        client.mset({f"tenant-{number:04}:pybreaker:state": "closed" for number in range(1000)})
        client.set("tenant-0500:pybreaker:state", "open")
    with terminal.running([*COMMAND, "watch", "--url", redis_server.url]) as watch:
        seen = watch.wait_for("1 open", "999 closed", "981 more")
        watch.send("\x03")
        assert watch.end() == 0
    assert seen.splitlines()[3].startswith("tenant-0500")
    assert len(seen.splitlines()) <= 24


def test_a_terminal_is_left_as_it_was_when_watch_is_terminated(url: str, registry: CircuitBreakerRegistry) -> None:
    registry.get("a").call(int)
    with terminal.running([*COMMAND, "watch", "--url", url]) as watch:
        watch.wait_for("Ctrl-C ends this")
        watch.process.kill(signal.SIGTERM)
        assert watch.end() == 143
        assert b"\x1b[?1049l" in watch.raw[-40:]


def test_ctrl_z_gives_the_shell_its_screen_and_fg_draws_again(url: str, registry: CircuitBreakerRegistry) -> None:
    """In a shell with jobs: nothing stops a program in a terminal of its own."""
    registry.get("a").call(int)
    with terminal.running(["bash", "--norc", "--noprofile", "-i"], {"PS1": "ready> "}) as shell:
        shell.wait_for("ready>")
        shell.send(f"{shlex.join((*COMMAND, 'watch', '--interval', '60', '--url', url))}\n")
        shell.wait_for("Ctrl-C ends this")
        shell.send("\x1a")
        shell.wait_for("Stopped")
        left = shell.raw.rindex(b"\x1b[?1049l")
        assert shell.raw.rindex(b"\x1b[?25h") > shell.raw.rindex(b"\x1b[?25l")
        shell.send("fg\n")
        until(lambda: (shell.take_in(), b"Ctrl-C ends this" in shell.raw[left:])[1])
        assert shell.raw.rindex(b"\x1b[?1049h") > left
        shell.send("\x03")
        until(lambda: (shell.take_in(), b"ready>" in shell.raw[-60:])[1])
        assert shell.raw.rindex(b"\x1b[?1049l") > shell.raw.rindex(b"\x1b[?1049h")
        shell.send("exit\n")
        assert shell.end() == 0


def test_a_terminal_that_can_do_nothing_gets_tables(url: str, registry: CircuitBreakerRegistry) -> None:
    registry.get("a").call(int)
    with terminal.running([*COMMAND, "watch", "--count", "1", "--url", url], {"TERM": "dumb"}) as watch:
        assert watch.end() == 0
        assert re.search(r"^a +closed", watch.text, re.MULTILINE)
        assert b"\x1b" not in watch.raw


def test_checking_one_name_takes_no_search(redis_server: servers.RedisServer, capsys: Any) -> None:
    with redis_server.client() as client:
        client.set("a:pybreaker:state", "closed")
        client.config_resetstat()
        assert cli.main(["check", "a", "--url", redis_server.url]) == 0
        assert "cmdstat_scan" not in client.info("commandstats")


def test_a_narrow_terminal_is_no_error(url: str, registry: CircuitBreakerRegistry) -> None:
    registry.get("a-rather-long-name").open()
    with terminal.running([*COMMAND, "list", "--url", url], columns=30) as screen:
        screen.wait_for("open")
        assert screen.end() == 0


def test_a_closed_pipe_is_no_error(url: str, registry: CircuitBreakerRegistry) -> None:
    registry.get("a").call(int)
    with subprocess.Popen(
        [*COMMAND, "watch", "--interval", "0.2", "--url", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""

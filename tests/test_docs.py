"""The README and the documentation are right: examples run, commands work, names exist, links lead somewhere."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

import pybreaker_ext
from pybreaker_ext import CircuitState, StoredCircuit, Transition, factory
from pybreaker_ext.cli import SUMMARIES, demo_command
from pybreaker_ext.cli.app import app
from pybreaker_ext.cli.as_json import change_as_json, circuit_as_json
from pybreaker_ext.config import KEYS
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN, Event, Policy, Record, decide
from pybreaker_ext.testing import CircuitBreakers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import servers

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = (README, *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts))

FENCE = re.compile(r"^```(?P<language>\S+).*?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
FILE_NAME = re.compile(r"# (\S+\.(?:py|toml|yaml))\n")
#: A file of tests, and a test in it.
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
#: Before a command: a variable that is set for it.
VARIABLE = re.compile(r"(?P<name>[A-Z_]+)=(?P<value>.*)")


#: What is in a command of the shell: extras, and commands of ours with their options.
EXTRAS = re.compile(r"\[([a-z,]+)\]\"")
OURS = re.compile(r"(?:^|&& )(?:pybreaker-ext|python -m pybreaker_ext) (?P<name>[a-z][a-z-]*)(?P<rest>[^|]*)")
FLAG = re.compile(r"--[a-z]+")
HEADING = re.compile(r"^#+ (?P<text>.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    #: Of its first line of text, counted from 1.
    line: int
    language: str
    text: str
    #: The text block directly below it: what it must print. None: anything.
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    fences = list(FENCE.finditer(text))
    for fence, below in itertools.zip_longest(fences, fences[1:]):
        line = text.count("\n", 0, fence.start("text")) + 1
        output = None
        if below and below["language"] == "text" and not text[fence.end() : below.start()].strip():
            output = below["text"]
        yield Block(page, line, fence["language"], fence["text"], output)


def examples_of(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in ("python", "console", "toml", "yaml")]


EXAMPLES = [block for page in PAGES for block in examples_of(page)]


class Run:
    """Runs a page's examples from the first to the last, in one namespace and one directory."""

    def __init__(self, directory: Path, substitute: Callable[[str], str]) -> None:
        self._directory = directory
        self._substitute = substitute
        self._namespace: dict[str, Any] = {"__name__": "__example__"}
        self._saved: set[str] = set()

    def page(self, page: Path) -> dict[int, BaseException | None]:
        """Return what was wrong with each example, by its line; nothing runs behind one that fails."""
        errors: dict[int, BaseException | None] = {}
        failed = None
        for block in examples_of(page):
            if failed is not None:
                errors[block.line] = AssertionError(f"not run, because the example in line {failed} failed")
                continue
            errors[block.line] = None
            try:
                self._block(block)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  the example's own test raises it
                errors[block.line], failed = error, block.line
        forget_breakers()
        assert failed is not None or not self._saved, f"no console block runs {self._saved}"
        return errors

    def _block(self, block: Block) -> None:
        name = FILE_NAME.match(block.text)
        if block.language == "console":
            self._console(block.text)
        elif name:
            (self._directory / name[1]).write_text(self._substitute(block.text))
            if block.language == "python":
                self._saved.add(name[1])
        else:
            assert block.language == "python", "a file must begin with its name"
            printed = self._python(block)
            assert block.output is None or tidy(block.output) == tidy(printed)

    def _python(self, block: Block) -> str:
        code = compile("\n" * (block.line - 1) + self._substitute(block.text), str(block.page), "exec")
        known = set(self._namespace)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self._namespace)  # noqa: S102  the examples are ours
            for name in [name for name in self._namespace if name.startswith("test_") and name not in known]:
                run_test(self._namespace[name])
        return printed.getvalue()

    def _console(self, text: str) -> None:
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            words = shlex.split(command)
            variables = [found for found in map(VARIABLE.fullmatch, words) if found]
            program, *arguments = words[len(variables) :]
            environment = os.environ | {found["name"]: found["value"] for found in variables}
            if program == "python":
                self._ran(arguments[0])
                program = sys.executable
            done = subprocess.run(
                [program, *arguments],
                cwd=self._directory,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (tidy(expected), 0) == (tidy(done.stdout), done.returncode), done.stderr

    def _ran(self, name: str) -> None:
        """Note that a saved file is run, and with it those that it imports."""
        if name in self._saved:
            self._saved.discard(name)
            for module in re.findall(r"^import (\w+)$", (self._directory / name).read_text(), re.MULTILINE):
                self._ran(f"{module}.py")


def forget_breakers() -> None:
    """Forget what `get_circuit_breaker` has given: another page's examples are another program."""
    for registry in factory._registries.take_all():
        registry.close()


def run_test(test: Callable[..., None]) -> None:
    """Run an example's test as pytest would."""
    if "circuit_breakers" not in inspect.signature(test).parameters:
        test()
        return
    with CircuitBreakers() as breakers, breakers.installed():
        test(breakers)


def tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def _errors_of_pages() -> dict[Path, dict[int, BaseException | None]]:
    return {}


@pytest.fixture
def errors(
    request: pytest.FixtureRequest,
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    _errors_of_pages: dict[Path, dict[int, BaseException | None]],
) -> dict[int, BaseException | None]:
    """Errors of the block's page; the page is run when its first example is tested."""
    if block.page not in _errors_of_pages:
        monkeypatch.chdir(tmp_path)
        _errors_of_pages[block.page] = Run(tmp_path, substitution(request, block.page)).page(block.page)
    return _errors_of_pages[block.page]


def substitution(request: pytest.FixtureRequest, page: Path) -> Callable[[str], str]:
    """Return what puts the real server in the place of the documented one."""
    examples = "".join(block.text for block in examples_of(page))
    places: dict[str, str] = {}
    if "redis.Redis" in examples or "redis://" in examples:
        server: servers.RedisServer = request.getfixturevalue("redis_server")
        places["redis://localhost:6379/0"] = server.patient_url
        places["redis.Redis()"] = f"redis.Redis(host='127.0.0.1', port={server.port})"
    if "redis+cluster://" in examples:
        cluster: servers.Cluster = request.getfixturevalue("redis_cluster")
        places["redis+cluster://localhost:7000,localhost:7001"] = cluster.patient_url
        places['ClusterNode("localhost", 7000)'] = f'ClusterNode("127.0.0.1", {cluster.nodes[0].port})'
    if "redis+sentinel://" in examples:
        sentinels: servers.Sentinels = request.getfixturevalue("redis_sentinels")
        places["redis+sentinel://localhost:26379,localhost:26380/main/0"] = sentinels.patient_url

    def substitute(text: str) -> str:
        for documented, real in places.items():
            text = text.replace(documented, real)
        assert not re.search(r"localhost:\d", text)
        return text

    return substitute


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_every_example_runs_and_prints_what_it_says(block: Block, errors: dict[int, BaseException | None]) -> None:
    error = errors[block.line]
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", AssertionError),
        ("```python\n1 / 0\n```\n", ZeroDivisionError),
        ("```python\ndef test_it():\n    assert False\n```\n", AssertionError),
        ("```python\nimport pytest\n\nwith pytest.raises(KeyError):\n    pass\n```\n", pytest.fail.Exception),
        ("```python\n# run.py\nprint(1)\n```\n\n```console\n$ python run.py\n2\n```\n", AssertionError),
        ("```python\n# run.py\n1 / 0\n```\n\n```console\n$ python run.py\n```\n", AssertionError),
        (
            "```python\n# a.py\n1 / 0\n```\n\n```python\n# b.py\nimport a\n```\n\n```console\n$ python b.py\n```\n",
            AssertionError,
        ),
        ("```toml\n# a.toml\n```\n\n```console\n$ A=1 printenv B\n```\n", AssertionError),
        ("```toml\nnameless = 1\n```\n", AssertionError),
    ],
)
def test_a_wrong_example_is_noticed(tmp_path: Path, text: str, error: type[BaseException]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Some text.\n\n{text}")

    found = Run(tmp_path, str).page(page)

    assert [error] == [type(error) for error in found.values() if error is not None]


def test_a_saved_file_that_nothing_runs_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n# run.py\nprint(1)\n```\n")

    with pytest.raises(AssertionError, match=r"no console block runs {'run.py'}"):
        Run(tmp_path, str).page(page)


def test_there_are_examples() -> None:
    """A pattern that finds nothing would let everything pass."""
    assert {README, DOCS / "tutorial.md"} <= {block.page for block in EXAMPLES}
    assert len(EXAMPLES) > 20


def commands_of(page: Path) -> list[str]:
    """Return the commands that a page gives its reader."""
    shell = (block.text for block in blocks_of(page) if block.language == "bash")
    return [command for text in shell for command in text.strip().splitlines()]


def commands_of_ci() -> list[str]:
    lines = (line.strip() for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_the_readme_gives_two_commands_and_ci_runs_them() -> None:
    see, check = commands_of(README)

    assert see == "pip install . && python -m pybreaker_ext demo"
    assert check in commands_of_ci()
    assert any("python -m pybreaker_ext demo" in command for command in commands_of_ci())


def test_ci_runs_what_developers_are_told_to_run() -> None:
    commands = [command.removesuffix(" docs/_build/html") for command in commands_of(DOCS / "developing.md")]

    missing = [command for command in commands if not any(run.startswith(command) for run in commands_of_ci())]

    assert missing == [
        "python -m pytest -m slow",
        'python3.12 -m venv .venv/3.12 && .venv/3.12/bin/pip install -e ".[dev]" && .venv/3.12/bin/python -m pytest',
        "~/free/bin/python3.13t -m venv .venv/free && .venv/free/bin/pip install -e .",
        *(command for command in commands if command.startswith((".venv/free/bin/python -c", "  while read"))),
        "PYTHON_GIL=0 .venv/free/bin/python -m pytest",
        "python tests/linearizability --minutes 10",
        'pip install -e ".[dev,fuzz]" && python tests/fuzz --seconds 60',
        'pip install -e ".[dev,mutation]" && python tests/mutation machine outcome lua',
        'pip install -e ".[dev,clients]" && python -m pytest -W ignore tests/test_http_clients.py',
        "python tests/benchmarks/registry.py",
        "python tests/benchmarks/structlog_listener.py",
        "python tests/benchmarks/silent.py",
        'pip install -e ".[dev]" && python tests/faults',
        "python tests/faults --markdown docs/explanation/faults.md",
        "sphinx-build -b linkcheck docs docs/_build/linkcheck",
        "bash .ci/run",
    ]


SHELL = [(page, command) for page in PAGES for command in commands_of(page)]


def test_the_extras_that_commands_install_are_there() -> None:
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    named = {extra for _, command in SHELL for extras in EXTRAS.findall(command) for extra in extras.split(",")}

    assert {"cli", "dev", "docs"} <= named <= known


def test_the_commands_of_ours_that_pages_give_are_there() -> None:
    """Their options, too; those in console blocks are run."""
    given = [OURS.search(command) for _, command in SHELL]
    commands = [[found["name"], *FLAG.findall(found["rest"])] for found in given if found]
    known = documented_commands()

    assert len(commands) > 4
    assert [command for command in commands if not all(flag in known[command[0]][1] for flag in command[1:])] == []


@pytest.mark.parametrize("name", pybreaker_ext.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    reference = "\n".join(page.read_text("utf-8") for page in PAGES if page.parent == DOCS / "reference")

    assert re.search(rf"\bpybreaker_ext\.{name}\b", reference)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = (link["target"] for link in LINK.finditer(FENCE.sub("", page.read_text("utf-8"))))
    files = [target.partition("#")[0] for target in targets if "://" not in target]

    assert [target for target in files if target and not (page.parent / target).is_file()] == []


def anchors_of(page: Path) -> set[str]:
    """Return what code hosts and MyST make of a page's headings."""
    headings = (found["text"] for found in HEADING.finditer(FENCE.sub("", page.read_text("utf-8"))))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_to_a_heading_leads_to_one(page: Path) -> None:
    """The build says so of the documentation, and nobody else of the README."""
    targets = (link["target"] for link in LINK.finditer(FENCE.sub("", page.read_text("utf-8"))))
    parts = [target.partition("#") for target in targets if "://" not in target and "#" in target]
    pages = [(page.parent / file if file else page, anchor) for file, _, anchor in parts]

    assert [anchor for found, anchor in pages if anchor not in anchors_of(found)] == []


def test_links_of_the_readme_to_other_sites_are_checked_with_the_documentations() -> None:
    """For which there is a command that asks for them; it sees nothing of the README."""
    links = {page: {found["target"] for found in LINK.finditer(page.read_text("utf-8"))} for page in PAGES}
    outside = {link for link in links.pop(README) if "://" in link}

    assert outside <= set().union(*links.values())


def test_the_readme_links_to_the_documentation() -> None:
    assert "(docs/index.md)" in README.read_text("utf-8")


def rows_of(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    below = page.read_text("utf-8").split(f"\n{heading}\n", 1)[1]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), below.splitlines())
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in list(table)[2:]]


@pytest.mark.parametrize(
    "cls",
    [
        pybreaker_ext.CircuitBreaker,
        pybreaker_ext.Backoff,
        pybreaker_ext.CircuitMemoryStorage,
        pybreaker_ext.CircuitSQLiteStorage,
        pybreaker_ext.CircuitRedisStorage,
    ],
)
def test_the_settings_page_has_every_argument_and_its_default(cls: type) -> None:
    def shown(default: Any) -> str:
        if default is inspect.Parameter.empty:
            return "required"
        return f"`time.{default.__name__}`" if callable(default) else f"`{default!r}`"

    arguments = inspect.signature(cls).parameters.values()
    documented = rows_of(DOCS / "reference" / "settings.md", f"## {cls.__name__}")

    assert [[f"`{argument.name}`", shown(argument.default)] for argument in arguments] == [
        row[:2] for row in documented
    ]


def test_the_settings_page_has_every_key_of_a_settings_file() -> None:
    documented = rows_of(DOCS / "reference" / "settings.md", "## Settings files")

    assert [f"`{key}`" for key in KEYS] == [row[0] for row in documented]


@pytest.mark.parametrize("name", ["PYBREAKER_EXT_URL", "PYBREAKER_EXT_CONFIG"])
def test_the_variables_are_told_where_settings_are(name: str) -> None:
    for page in ("how-to/settings-files.md", "reference/settings.md"):
        assert f"`{name}`" in (DOCS / page).read_text("utf-8")


def documented_commands() -> dict[str, list[str]]:
    page = DOCS / "reference" / "command-line.md"
    return {row[0].strip("`"): row[1:] for row in rows_of(page, "## Commands")}


def options_of(command: str) -> set[str]:
    if command == "demo":
        return {option.flag for option in demo_command.OPTIONS}
    return {flag for option in app.commands[command].params for flag in option.opts if flag.startswith("--")}


def test_the_reference_has_every_command_with_its_options() -> None:
    assert {name: summary for name, (summary, _) in documented_commands().items()} == SUMMARIES
    for name, (_, options) in documented_commands().items():
        assert set(re.findall(r"`(--[a-z]+)`", options)) == options_of(name), name


def test_the_reference_has_every_field_of_json() -> None:
    page = DOCS / "reference" / "command-line.md"
    change = Transition(0.0, CircuitState.OPEN, CircuitState.CLOSED, "", "")
    circuit = StoredCircuit(
        "", None, CircuitState.OPEN, None, 0, 0, 0, "", None, None, 0, change, foreign=False, now=0.0
    )
    tables = re.findall(r"\| field .*?\n\n", f"{page.read_text('utf-8')}\n\n", re.DOTALL)
    fields = [re.findall(r"^\| `(\w+)`", table, re.MULTILINE) for table in tables]
    assert fields == [list(circuit_as_json(circuit)), list(change_as_json(change))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_told_are_there(page: Path) -> None:
    """Whatever stands behind `pybreaker-ext`, in a block or in a sentence, is a command with such options."""
    for command, rest in re.findall(r"pybreaker-ext ([a-z][a-z-]+)([^`\n|]*)", page.read_text("utf-8")):
        assert set(re.findall(r"--[a-z]+", rest)) <= options_of(command)


def table_of_states() -> list[list[str]]:
    return rows_of(DOCS / "reference" / "state-machine.md", "## The table")


def drawn() -> dict[tuple[str, str], set[str]]:
    """Return the diagram's ways between states, each with its rows."""
    diagram = ET.parse(DOCS / "reference" / "state-machine.svg")  # noqa: S314  the file is ours
    ways = [way for way in diagram.iter() if "data-from" in way.attrib]
    return {(way.attrib["data-from"], way.attrib["data-to"]): set(way.attrib["data-rows"].split()) for way in ways}


def test_the_state_table_has_all_rows() -> None:
    assert [row[0] for row in table_of_states()] == [str(number) for number in range(1, 22)]


def test_the_diagram_shows_the_rows_of_the_table_that_change_the_state() -> None:
    ways: dict[tuple[str, str], set[str]] = {}
    for number, states, _event, _when, becomes, *_ in table_of_states():
        for state in states.split(", "):
            if state not in {"any", becomes}:
                ways.setdefault((state, becomes), set()).add(number)

    assert drawn() == ways


def test_the_diagram_shows_the_changes_that_the_machine_makes() -> None:
    permits = {"token": 20_000}
    records = [
        Record(CLOSED, generation=1),
        Record(OPEN, generation=1, open_until=5_000),
        Record(OPEN, generation=1, open_until=20_000),
        Record(HALF_OPEN, generation=1, permits=permits),
        Record(HALF_OPEN, generation=1, success_counter=1, permits=permits),
    ]
    kinds = ("ask", "success", "failure", "neutral", "hold", "renew", "read")
    events = [Event(kind, "token", generation=1, duration=1_000) for kind in kinds]
    policies = [Policy(), Policy(fail_max=1, success_threshold=2)]

    changes = {
        (record.state, decide(record, event, policy, 10_000_000).after.state)
        for record, event, policy in itertools.product(records, events, policies)
    }

    assert set(drawn()) == {(before, after) for before, after in changes if before != after}


def test_every_promise_has_tests() -> None:
    page = DOCS / "explanation" / "guarantees.md"
    guaranteed = page.read_text("utf-8").split("\n## ")[1]
    promises = [promise.rstrip(".") for promise in re.findall(r"^- \*\*(.+?)\*\*", guaranteed, re.MULTILINE)]
    tests = dict(rows_of(page, "## The tests behind it"))

    assert promises == list(tests)
    assert [promise for promise, cell in tests.items() if not TEST.search(cell)] == []


def test_every_rule_has_tests() -> None:
    page = DOCS / "explanation" / "guarantees.md"
    rows = rows_of(page, "## The tests behind the rules")
    rules = [row for row in rows_of(page, "The other rules:") if not row[0].startswith("*")]  # no heading

    assert [row for row, *_ in rows] == [row for row, *_ in table_of_states()]
    assert [rule for rule, cell in rows + rules if not TEST.search(cell)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_is_there(page: Path) -> None:
    named = TEST.findall(page.read_text("utf-8"))

    assert [test for file, test in named if f"def {test}(" not in (ROOT / file).read_text("utf-8")] == []


def test_every_deliberate_difference_is_told_to_those_who_migrate() -> None:
    source = (ROOT / "tests" / "test_compat.py").read_text("utf-8")
    differences = re.split(r"^class ", source, flags=re.MULTILINE)
    (tested,) = (part for part in differences if part.startswith("TestDifferences"))
    rows = rows_of(DOCS / "how-to" / "migrate.md", "## The tests behind it")
    told = [name for _, cell in rows for name in re.findall(r"`(test_\w+)`", cell)]

    assert sorted(told) == sorted(re.findall(r"def (test_\w+)", tested))

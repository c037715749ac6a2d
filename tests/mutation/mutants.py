"""What a mutant is, and Python's; cosmic-ray says what may be wrong."""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEFINITION: Final = re.compile(r"(?P<indent> *)(?:local function|async def|def|class) (?P<name>\w+)")


class Mutant(NamedTuple):
    """One file with one fault."""

    #: Its file, from the package's directory.
    file: str
    #: The function that it is in, or nothing.
    function: str
    #: The lines that differ, as they were and as they are now; without their indentation.
    was: str
    is_now: str
    line: int
    source: str
    #: Which one it is of those in this function that would have the same name.
    number: int = 1

    @property
    def name(self) -> str:
        """What it is called whatever stands above it in its file. No two have one name."""
        place = f"{self.file} {self.function}".rstrip()
        return f"{place}: {self.was} -> {self.is_now}" + (f" ({self.number})" if self.number > 1 else "")


def mutant(file: str, original: str, mutated: str) -> Mutant:
    """Name a mutant by the first lines that differ."""
    was, is_now = original.splitlines(), mutated.splitlines()
    for what, i, j, k, m in difflib.SequenceMatcher(None, was, is_now, autojunk=False).get_opcodes():
        if what != "equal":
            return Mutant(file, _function(was[: i + 1]), _joined(was[i:j]), _joined(is_now[k:m]), i + 1, mutated)
    raise ValueError("nothing differs")


def numbered(mutants: Iterable[Mutant]) -> Iterator[Mutant]:
    """Give those of one name numbers."""
    names: Counter[str] = Counter()
    for one in mutants:
        names[one.name] += 1
        yield one._replace(number=names[one.name])


def _function(lines: list[str]) -> str:
    """Return the name of the function whose last line is the last of these, in Python or Lua."""
    depth = len(lines[-1]) - len(lines[-1].lstrip())
    for line in reversed(lines):
        found = _DEFINITION.match(line)
        if found and len(found["indent"]) <= depth:
            return found["name"]
    return ""


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)


def python_mutants(file: str, source: str) -> Iterator[Mutant]:
    """Yield a file's mutants, each meaning once; what only type checkers read means nothing."""
    seen = {_meaning(source)}
    tree = get_ast(source)
    for name in cosmic_ray.plugins.operator_names():
        kind: Any = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():  # takes names to put in somebody else's place
            continue
        operator = kind()
        places = sum(1 for node in ast_nodes(tree) for _ in operator.mutation_positions(node))
        for place in range(places):
            mutated = mutate_code(source, operator, place)
            meaning = mutated and _meaning(mutated)
            if meaning and meaning not in seen:
                seen.add(meaning)
                yield mutant(file, source, mutated)


def _meaning(source: str) -> str | None:
    try:
        return ast.dump(_WithoutTypes().visit(ast.parse(source)))
    except SyntaxError:
        return None


class _WithoutTypes(ast.NodeTransformer):
    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        node.returns = None
        return None if _is_overload(node) else self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _is_overload(node: ast.FunctionDef) -> bool:
    """Without its decorator it is one still: its body is three dots, and the next function has its name."""
    return [ast.unparse(line) for line in node.body] == ["..."]

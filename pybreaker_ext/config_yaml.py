"""YAML by PyYAML's safe loader, as strict about repeated keys as TOML is."""

from __future__ import annotations

from typing import Any

try:
    import yaml
    from yaml.reader import ReaderError
except ImportError as error:
    message = 'settings in YAML need PyYAML, which comes with: pip install "pybreaker-ext[yaml]"'
    raise ImportError(message) from error


class _Loader(yaml.SafeLoader):
    """Makes nothing but plain data."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that stands twice; PyYAML would take the last."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem="a key stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node


def parsed(text: str) -> Any:
    """Return what a YAML document holds; an empty mapping when it is empty.

    Raises:
        ValueError: It is no YAML; the message tells line and column where PyYAML knows them, and
            shows no line of the document, which may hold a password.
    """
    try:
        found = yaml.load(text, _Loader)  # noqa: S506  it is a safe loader
    except yaml.MarkedYAMLError as error:
        problem, mark = ", ".join(filter(None, (error.context, error.problem))), error.problem_mark
        raise ValueError(problem + (_place(mark.line, mark.column) if mark else "")) from None
    except ReaderError as error:
        before = text[: error.position].split("\n")
        raise ValueError(error.reason + _place(len(before) - 1, len(before[-1]))) from None
    except Exception as error:  # noqa: BLE001  values such as 2026-13-45 or !!bool x raise all kinds
        message = f"a value is impossible: {error}"
        raise ValueError(message) from None
    return {} if found is None else found


def _place(line: int, column: int) -> str:
    return f" (at line {line + 1}, column {column + 1})"

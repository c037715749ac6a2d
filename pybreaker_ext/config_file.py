"""A settings file as a mapping: TOML or YAML, with errors that name the file and the place in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


def read(path: str | os.PathLike[str]) -> Any:
    """Return what a file holds: a mapping, or what else its author took for one.

    Raises:
        ImportError: It is a YAML file, and PyYAML isn't installed.
        OSError: It can't be read.
        ValueError: Its name doesn't end in `.toml`, `.yaml` or `.yml`, or it isn't such a file in UTF-8.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".toml":
        parse: Callable[[str], Any] = tomllib.loads
    elif ending in (".yaml", ".yml"):
        parse = _yaml
    else:
        message = f"the name of a settings file must end in .toml, .yaml or .yml; it is {str(path)!r}"
        raise ValueError(message)
    try:
        return parse(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{path} must be a text in UTF-8, and isn't (at line {line})"
        raise ValueError(message) from None
    except (ValueError, RecursionError) as error:
        message = f"{path} can't be understood: {error}"
        raise ValueError(message) from None


def _yaml(text: str) -> Any:
    from pybreaker_ext.config_yaml import parsed  # noqa: PLC0415  PyYAML is an extra

    return parsed(text)

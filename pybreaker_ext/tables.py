"""What a settings file says, and which of it holds for a name."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Tables:
    """Settings that have been checked; only those that are given."""

    #: May hold a password.
    url: str | None = field(default=None, repr=False)
    #: Of the registry itself.
    registry: Mapping[str, Any] = field(default_factory=dict)
    #: Of all breakers.
    default: Mapping[str, Any] = field(default_factory=dict)
    #: Of the breakers that a name or a glob stands for, in the order of the file.
    breakers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings_of(self, name: str) -> dict[str, Any]:
        """Return the settings of the breaker called `name`; what is nearer to it wins, then what is further down."""
        found = dict(self.default)
        for glob, table in self.breakers.items():
            if fnmatchcase(name, glob):
                found.update(table)
        found.update(self.breakers.get(name, {}))
        return found

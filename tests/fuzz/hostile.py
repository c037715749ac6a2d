"""Objects that do harm when they are looked at: exceptions, results, chunks and listeners of somebody's code.

Hypothesis looks at what it draws, so it draws recipes, and the tests make the objects.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hypothesis import strategies as st


class Trap(Exception):  # noqa: N818  what a hostile object raises
    """Raised by whatever should have been left alone."""


def _springs(*_args: object, **_options: object) -> Any:
    raise Trap


#: What a class may have instead of what is expected of it. All but the last few raise when they are used.
_METHODS: Final = (
    *("__str__", "__repr__", "__bool__", "__eq__", "__hash__", "__len__", "__iter__", "__format__", "__dir__"),
    *("__int__", "__float__", "__index__", "__lt__", "__le__", "__contains__", "__call__", "__reduce__", "__sizeof__"),
)
_ATTRIBUTES: Final = (
    *("__class__", "__cause__", "__context__", "__suppress_context__", "__traceback__", "__notes__", "args", "errno"),
    *("response", "raw_response", "status_code", "status", "code", "headers", "reason", "litellm_response_headers"),
    *("choices", "type", "usage", "error", "finish_reason", "model_fields", "close", "aclose", "request", "body"),
)
_MEMBERS: Final[dict[str, Any]] = {
    **dict.fromkeys(_METHODS, _springs),
    **dict.fromkeys(_ATTRIBUTES, property(_springs)),
    "__getattr__": _springs,
}


class HostileType(type):
    """A class that can't be compared, hashed or shown."""

    __hash__ = None  # type: ignore[assignment]
    __eq__ = _springs
    __repr__ = _springs


def _lies(name: str) -> property:
    """Make a property that says it is something else."""
    return property(lambda _: {"exception": KeyError, "status": 503, "text": str, "number": int}[name])


class Recipe(NamedTuple):
    """How to make one object."""

    base: str
    members: frozenset[str]
    #: What it says that it is.
    lie: str
    metaclass: str

    def make(self) -> Any:
        """Return the object."""
        if self.base == "plain":
            return self.members
        namespace = {name: _MEMBERS[name] for name in self.members}
        if self.lie:
            namespace["__class__"] = _lies(self.lie)
        base, arguments = _BASES[self.base]
        kind = HostileType if self.metaclass == "hostile" else type
        cls = kind("Hostile", (base,), namespace)
        return cls.__new__(cls, *arguments)


_BASES: Final[dict[str, tuple[type, tuple[Any, ...]]]] = {
    "object": (object, ()),
    "dict": (dict, ()),
    "text": (str, ("data: {}",)),
    "bytes": (bytes, (b" ",)),
    "number": (int, (503,)),
    "Exception": (Exception, ()),
    "ValueError": (ValueError, ("text",)),
    "OSError": (OSError, (113, "text")),
    "ConnectionError": (ConnectionError, ()),
    "BaseException": (BaseException, ()),
}


def _recipes(*bases: str) -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        st.sampled_from(bases),
        st.frozensets(st.sampled_from(sorted(_MEMBERS)), max_size=6),
        st.sampled_from(["", "", "exception", "text", "number"]),
        st.sampled_from(["type", "type", "hostile"]),
    )


#: Of exceptions, each of which comes from the next, and whether the last comes from the first.
ERRORS: Final = st.tuples(
    st.lists(
        _recipes("Exception", "ValueError", "OSError", "ConnectionError", "BaseException"), min_size=1, max_size=3
    ),
    st.booleans(),
)


def error_of(recipes: list[Recipe], loop: bool) -> BaseException:
    """Return an exception of a call."""
    errors: list[BaseException] = [recipe.make() for recipe in recipes]
    followers = [*errors[1:], *(errors[:1] if loop else [])]
    for error, cause in zip(errors, followers, strict=False):
        # Past what its class may say.
        BaseException.__dict__["__cause__"].__set__(error, cause)
        BaseException.__dict__["__context__"].__set__(error, cause)
    return errors[0]


#: Of what a call may return, or a stream yield.
OBJECTS: Final = _recipes("object", "dict", "text", "bytes", "number", "ValueError", "plain")

_HOOKS: Final = (
    *("before_call", "success", "failure", "state_change", "rejected", "neutral", "success_ignored_for"),
    *("storage_lost", "storage_restored"),
)


def listener_of(hooks: dict[str, str]) -> Any:
    """Return a listener."""
    deeds: dict[str, Any] = {
        "raises": _springs,
        "nothing": None,
        "number": 7,
        "property": property(_springs),
        "good": lambda *_args, **_options: None,
        "odd": lambda *_args, **_options: "odd",
    }
    return type("Listener", (), {name: deeds[deed] for name, deed in hooks.items()})()


#: Of listeners whose hooks raise, are none, or can't even be looked at.
LISTENERS: Final = st.dictionaries(
    st.sampled_from(_HOOKS), st.sampled_from(["raises", "nothing", "number", "property", "good", "odd"]), max_size=5
)

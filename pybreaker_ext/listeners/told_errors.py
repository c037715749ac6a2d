"""What a log may be told of an error. A provider's text can hold prompts and keys; its type and status do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.errors import FailedResult

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where HTTP clients and frameworks keep the status of an answer, the surest place first.
_PLACES: Final = (("status_code",), ("response", "status_code"), ("code",), ("status",), ("response", "status"))

#: What stands for a text that `redact` or the error itself failed to give.
NO_TEXT: Final = "(no text: redact failed)"


class ToldErrors:
    """Makes log fields of errors.

    Args:
        redact: Takes an error's text, and returns what may be logged of it at every level.
        length: Characters that are kept of that.
    """

    def __init__(self, redact: Callable[[str], str] | None, length: int) -> None:
        self._redact = redact
        self._length = length

    def public(self, error: BaseException | None) -> dict[str, Any]:
        """Return what may be logged at every level: the text only if somebody has redacted it."""
        fields = _type_and_status(error)
        if self._redact is not None and _has_text(error):
            fields["error"] = self._text(error, self._redact)
        return fields

    def for_debug(self, error: BaseException | None) -> dict[str, Any]:
        """Return what may be logged at debug level: the text, too."""
        fields = _type_and_status(error)
        if _has_text(error):
            fields["error"] = self._text(error, self._redact or str)
        return fields

    def _text(self, error: BaseException | None, redact: Callable[[str], str]) -> str:
        """Redact first, cut then: half a key is no longer recognised as one."""
        try:
            text = redact(str(error))
        except Exception:  # noqa: BLE001  users' code, whose own error may quote the text
            return NO_TEXT
        return text[: self._length] if isinstance(text, str) else NO_TEXT


def _has_text(error: BaseException | None) -> bool:
    """Tell whether the text is an error's own; that of a `FailedResult` is the result."""
    return error is not None and not isinstance(error, FailedResult)


def _type_and_status(error: BaseException | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"error_type": None if error is None else type(error).__name__}
    told_by: object = error
    if isinstance(error, FailedResult):
        told_by = error.result
        fields["result_type"] = type(told_by).__name__
    status = None if isinstance(error, SystemExit) else status_of(told_by)
    if status is not None:
        fields["status"] = status
    return fields


def status_of(carrier: object) -> int | None:
    """Return the HTTP status that an exception or a response carries, 100 to 599, or None."""
    for place in _PLACES:
        found = carrier
        try:
            for attribute in place:
                found = getattr(found, attribute, None)
        except Exception:  # noqa: BLE001, S112  a property of users' code
            continue
        if isinstance(found, int) and not isinstance(found, bool) and 100 <= found <= 599:  # noqa: PLR2004
            return int(found)
    return None

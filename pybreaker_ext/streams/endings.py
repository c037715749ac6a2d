"""Predicates over the chunks of providers: whether an answer is whole, and whether the provider gave it up.

A chunk may be an object of the provider's SDK, a mapping, or lines of server-sent events as text or
bytes. What none of them is says nothing. For OpenAI's Chat Completions and Responses, and those who
speak like them; for Anthropic's Messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

#: The line that ends OpenAI's events.
_DONE: Final = {"type": "[DONE]"}
_OPENAI_ENDS: Final = frozenset({"[DONE]", "response.completed", "response.incomplete"})
_OPENAI_ERRORS: Final = frozenset({"error", "response.failed"})


def openai_complete(chunk: object) -> bool:
    """Tell whether a chunk ends an answer of OpenAI: it has a `finish_reason`, or only the usage. For `complete`."""
    for event in _events(chunk)[-1:]:
        choices = _field(event, "choices")
        if isinstance(choices, list):
            return any(_field(choice, "finish_reason") for choice in choices) or bool(
                not choices and _field(event, "usage")
            )
        return _type(event) in _OPENAI_ENDS
    return False


def openai_error(chunk: object) -> bool:
    """Tell whether a chunk is OpenAI's word that it has failed. For `failure_chunk`."""
    return any(_type(event) in _OPENAI_ERRORS or bool(_field(event, "error")) for event in _events(chunk))


def anthropic_complete(chunk: object) -> bool:
    """Tell whether a chunk ends an answer of Anthropic: it is a `message_stop`. For `complete`."""
    return any(_type(event) == "message_stop" for event in _events(chunk)[-1:])


def anthropic_error(chunk: object) -> bool:
    """Tell whether a chunk is Anthropic's word that it has failed. For `failure_chunk`."""
    return any(_type(event) == "error" for event in _events(chunk))


def _events(chunk: object) -> list[Any]:
    """Return the events of a chunk."""
    if isinstance(chunk, (bytes, bytearray)):
        return _events(chunk.decode("utf-8", "replace"))
    if not isinstance(chunk, str):
        return [chunk]
    fields = (line.partition(":") for line in chunk.splitlines())
    return [event for name, _, value in fields if name == "data" and (event := _event(value.strip())) is not None]


def _event(data: str) -> Any:
    if data == "[DONE]":
        return _DONE
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _field(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _type(event: object) -> str:
    found = _field(event, "type")
    return found if isinstance(found, str) else ""

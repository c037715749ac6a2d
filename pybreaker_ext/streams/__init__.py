"""Streams: admitted at their first chunk, settled at their end."""

from pybreaker_ext.errors import IncompleteStreamError
from pybreaker_ext.streams.endings import anthropic_complete, anthropic_error, openai_complete, openai_error
from pybreaker_ext.streams.stream import AsyncStream, EitherStream, Stream

__all__ = (
    "AsyncStream",
    "EitherStream",
    "IncompleteStreamError",
    "Stream",
    "anthropic_complete",
    "anthropic_error",
    "openai_complete",
    "openai_error",
)

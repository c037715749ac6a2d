"""What clients say in words only: the status of what they gave up on, and requests that they refused to send."""

from __future__ import annotations

import re
from typing import Any, Final

from pybreaker_ext.http.classes import root_of
from pybreaker_ext.http.reading import read

#: urllib3, and requests with it, about a status that came too often.
_TOO_MANY: Final = re.compile(r"too many ([1-5][0-9]{2}) error responses")

#: By package and class, how the texts begin. Subclasses don't count.
_REFUSALS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("builtins", "TypeError"): ('"Could not resolve authentication method',),  # anthropic
    ("builtins", "ValueError"): (
        "Invalid endpoint: ",  # botocore
        "Missing key inputs argument!",  # google-genai 1
        "No API key was provided",  # google-genai
        "Streaming is required for operations",  # anthropic
        "unknown url type: ",  # urllib
    ),
    ("cohere", "ApiError"): ("The client must be instantiated",),
    ("openai", "OpenAIError"): ("Missing credentials", "The api_key client option must be set"),
    ("urllib", "URLError"): ("no host given", "unknown url type: "),
}


def told_status(link: object) -> int | None:
    """Return the status that an error of urllib3's tells of."""
    if _name(link) != ("urllib3", "ResponseError"):
        return None
    told = _TOO_MANY.fullmatch(_text(link))
    return int(told[1]) if told else None


def tells_refusal(link: object) -> bool:
    """Tell whether the error says that a client refused to send the request."""
    beginnings = _REFUSALS.get(_name(link))
    return beginnings is not None and _text(link).startswith(beginnings)


def _name(link: Any) -> tuple[str, str]:
    cls: Any = type(link)
    return root_of(cls), cls.__name__


def _text(link: object) -> str:
    """Return what an error says; cohere's say it elsewhere."""
    args = read(link, "args")
    found = args[0] if args else read(link, "body")
    return found if type(found) is str else ""

"""Which classes of errors say that no good answer came, and which that no good request went out.

Classes are told by the first part of their module's name and by their own name, so that no client
needs to be installed or imported. A subclass is what the nearest of its bases is.
"""

from __future__ import annotations

import functools
from typing import Final

FAILURE: Final = "failure"
MISTAKE: Final = "mistake"

_HTTPX: Final = (
    "TransportError TimeoutException NetworkError ProtocolError RemoteProtocolError ProxyError DecodingError",
    "LocalProtocolError UnsupportedProtocol InvalidURL",
)

#: Of a package: the classes of failures, and those of the caller's mistakes.
_CLASSES: Final[dict[str, tuple[str, str]]] = {
    "aiohttp": (
        """ClientConnectionError ClientPayloadError ContentTypeError HttpProcessingError
        InvalidUrlRedirectClientError NonHttpUrlRedirectClientError ServerTimeoutError""",
        "InvalidURL NonHttpUrlClientError",
    ),
    "anthropic": ("APIError APIConnectionError", "APIWebhookValidationError"),
    "anyio": ("BrokenResourceError", ""),
    "asyncio": ("IncompleteReadError", ""),
    "botocore": (
        "ConnectionError HTTPClientError EventStreamError IncompleteReadError ResponseParserError",
        """InvalidRegionError NoAuthTokenError NoCredentialsError NoRegionError ParamValidationError
        PartialCredentialsError ProfileNotFound UnauthorizedSSOTokenError""",
    ),
    "builtins": ("ConnectionError TimeoutError", "UnicodeEncodeError"),
    "google": ("TransportError NoResponseError UnknownApiResponseError", ""),
    "h11": ("RemoteProtocolError", "LocalProtocolError"),
    "http": ("BadStatusLine IncompleteRead LineTooLong", "InvalidURL"),
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "json": ("JSONDecodeError", ""),
    "litellm": ("Timeout", "BudgetExceededError"),
    "mistralai": ("MistralError NoResponseError", ""),
    "openai": ("APIError APIConnectionError", "ContentFilterFinishReasonError LengthFinishReasonError"),
    "pybreaker_ext": ("IncompleteStreamError", ""),
    "requests": (
        "ConnectionError Timeout ChunkedEncodingError ContentDecodingError JSONDecodeError",
        "InvalidHeader InvalidJSONError InvalidSchema InvalidURL MissingSchema URLRequired",
    ),
    "simplejson": ("JSONDecodeError", ""),
    "socket": ("gaierror herror", ""),
    "ssl": ("SSLError", ""),
    "tornado": ("HTTPStreamClosedError HTTPTimeoutError StreamClosedError", ""),
    "urllib": ("ContentTooShortError", ""),
    "urllib3": (
        "TimeoutError ProtocolError ProxyError SSLError NewConnectionError IncompleteRead DecodeError ResponseError",
        "LocationValueError",
    ),
}
_KINDS: Final = {
    (package, name): kind
    for package, names in _CLASSES.items()
    for kind, listed in zip((FAILURE, MISTAKE), names, strict=True)
    for name in listed.split()
}
#: Whose errors are about the request at hand, and so is what they were raised in the handling of.
_CLIENTS: Final = frozenset(_CLASSES) - {"asyncio", "builtins", "json", "pybreaker_ext", "simplejson", "socket"} | {
    "cohere"
}


def root_of(cls: type) -> str:
    """Return the package that a class is from."""
    module = cls.__module__
    return module.partition(".")[0] if type(module) is str else ""


def is_clients(cls: type) -> bool:
    """Tell whether a client has made the class."""
    return root_of(cls) in _CLIENTS


@functools.lru_cache(maxsize=1_000)
def kind_of(cls: type) -> str | None:
    """Return `FAILURE`, `MISTAKE` or None: what its class alone says about an error."""
    found = (_KINDS.get((root_of(base), base.__name__)) for base in cls.__mro__)
    return next((kind for kind in found if kind), None)

"""Ready-made listeners. Each is imported when it is first asked for, as some need an extra."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pybreaker_ext.listeners.opentelemetry import OpenTelemetryListener
    from pybreaker_ext.listeners.prometheus import PrometheusListener
    from pybreaker_ext.listeners.structlog import StructlogListener

__all__ = ["OpenTelemetryListener", "PrometheusListener", "StructlogListener"]

#: Which module of this package has a listener.
_HOMES: Final = {
    "OpenTelemetryListener": "opentelemetry",
    "PrometheusListener": "prometheus",
    "StructlogListener": "structlog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]

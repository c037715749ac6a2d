"""Ready-made listeners. Each is imported at its first use, because some need an extra."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pybreaker_ext.listeners.opentelemetry import OpenTelemetryListener as OpenTelemetryListener
    from pybreaker_ext.listeners.prometheus import PrometheusListener as PrometheusListener

#: Where each listener is.
_MODULES: Final = {
    "OpenTelemetryListener": "opentelemetry",
    "PrometheusListener": "prometheus",
}

__all__ = (
    "OpenTelemetryListener",
    "PrometheusListener",
)


def __getattr__(name: str) -> Any:
    """Import a listener; an ImportError names the extra that is missing."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})

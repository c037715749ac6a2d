"""One fault in a place of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.fault import Finding, Scene
from faults.places import place_of
from faults.round import Story
from faults.traffic import traffic_through

if TYPE_CHECKING:
    from faults.fault import Fault


def try_out(fault: Fault) -> Finding:
    """Return what the fault shows."""
    reason = fault.impossible()
    if reason:
        return Finding(fault.title, skipped=reason)
    with place_of(fault.kind) as place, traffic_through(place, "claude") as traffic:
        scene = Scene(place, traffic)
        fault.prepares(scene)
        traffic.start_all()
        return Story(scene, fault).tell()

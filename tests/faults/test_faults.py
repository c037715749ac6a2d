"""What breaks around a breaker costs its callers some time, and nothing else.

Many faults happen at once, each to a store of its own. `python tests/faults` has more of them, and a soak.
They are real but for a store's clock that is wrong (an offset, see `clocks.py`), a server older than Redis 5
(a Redis 6 that is told to refuse what these did, see `old_redis.py`), and workers of another version (`versions.py`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from faults import patience
from faults.places import SQLITE, SQLITE_CLOCK
from faults.table import FAULTS
from faults.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from faults.fault import Fault, Finding

#: Trials at once. They mostly wait.
JOBS = 8
QUICK = [fault for fault in FAULTS if fault.quick]


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Finding]]]:
    """Begin all trials that this run asks for, and let each test wait for its own."""
    wanted = [item.callspec.params["fault"] for item in request.session.items if "findings" in item.fixturenames]
    if any(fault.kind not in (SQLITE, SQLITE_CLOCK) for fault in wanted):
        request.getfixturevalue("_redis_program")  # which skips, or fails, when there is none
    with ThreadPoolExecutor(JOBS) as pool:
        yield {fault.title: pool.submit(try_out, fault) for fault in wanted}
        patience.interrupted.set()
        pool.shutdown(cancel_futures=True)
        patience.interrupted.clear()


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.title)
def test_fault(fault: Fault, findings: dict[str, Future[Finding]]) -> None:
    finding = findings[fault.title].result()
    if finding.skipped:
        pytest.skip(finding.skipped)
    assert finding.problems == []

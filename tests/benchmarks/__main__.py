"""`python tests/benchmarks`, from a clone of the repository."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
# The tests' own modules (the servers, the fleet of workers) are imported as the tests import them, and
# the package that is measured is this clone's. Worker processes get the same path.
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())

"""`python tests/faults`, from a clone of the repository."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
# As in tests/benchmarks: the tests' own modules are imported as the tests import them, and the package
# is this clone's. Worker processes get the same path.
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

if __name__ == "__main__":
    from faults.command import main

    sys.exit(main())

"""`python tests/fuzz`, from a clone of the repository."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
# The tests' own modules are imported as the tests import them, and the package that is tried is this clone's.
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

if __name__ == "__main__":
    from fuzz.command import main

    sys.exit(main())

"""`python tests/mutation`, from a clone of the repository."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
# The package that is mutated is this clone's, and the tests' own modules are imported as the tests import them.
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

if __name__ == "__main__":
    from mutation.command import main

    sys.exit(main())

"""`python tests/benchmarks`, from a clone of the repository."""

import sys
from pathlib import Path

# The tests' own modules (the servers, the fleet of workers) are imported as the tests import them;
# worker processes get the same path.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())

"""`python -m pybreaker_ext`."""

import sys

from pybreaker_ext.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python -m pybreaker_ext"))

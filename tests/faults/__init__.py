"""Everything around the breaker breaks, and nothing is lost: `python tests/faults`, and a part of it in the tests.

A *place* is a store: real servers or a file. *Traffic* is four worker processes, two of threads and two
of asyncio, that call steadily through one circuit in that place. A *fault* breaks the place, or the
workers, and mends it again. A *round* is the story that each fault is told: calm, the store breaks, the
backend becomes sick, all is mended, the backend becomes sick once more, calm. It returns a finding:
what the callers saw, what it cost them, and what was wrong.
"""

"""What calls cost: pybreaker_ext beside five other libraries, with one command, `python tests/benchmarks`.

A *case* is one thing that calls do (closed success, failure, ...). In each case *contestants*, a library
on a store each, take turns, so that whatever the machine does meanwhile happens to all of them.
"""

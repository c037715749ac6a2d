"""Is each line of the machine, of the judge and of the streams held by a test?

Each mutant is the source with one small fault. `python_mutants` and `lua_mutants` make them, `forks` runs the
tests that should notice in a forked child each, `survivors` knows those that can't be noticed, and why.
"""

"""Whatever comes from outside: only documented errors, and never anything out of a call but the call's own.

`inputs` and `hostile` make what is tried. `properties` has the tests, which pytest runs for a moment
(tests/test_fuzz.py) and atheris for as long as is wanted (`python tests/fuzz`).
"""

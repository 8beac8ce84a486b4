"""The contestants, one file each: a module that has a `CONTESTANT` takes part.

A contestant in Python is a server and its own client of `bench.contestant`: the module starts the server when
it is run (`python -m bench.contestants.NAME ROLE PORT`), and imports everything it needs at the top, so that a
peer that is not installed is skipped and named. Others give the command that starts them.
"""

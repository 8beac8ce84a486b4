"""The contestants, one file each: every module here that has a `CONTESTANT` takes part.

A peer in Python is its own server: `python -m bench.contestants.NAME ROLE PORT` runs it (see
`websockets_broadcast`), and what it needs is imported at the top, so that a peer that is not installed is
skipped and named. Any other peer gives the command that starts it (see `switchboard_raw`).
"""

"""The contestants of `bench.db`, one module each with a class `CONTESTANT`; `bench.db_contestant` lists them.

They are imported only in the worker process that measures them, so that a peer that is not installed is named
instead of breaking anything. Each is written as its own documentation recommends where speed matters: pooled
connections, one transaction per write, and for many rows the fastest call that it documents.
"""

"""The exception tree."""

from __future__ import annotations

import inspect

from server import errors


def test_docstring_draws_every_class() -> None:
    """Nobody adds an error without drawing it into the tree."""
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    undrawn = [c.__name__ for c in classes if c.__name__ not in (errors.__doc__ or "")]
    assert not undrawn


def test_everything_has_one_root() -> None:
    """Whoever catches SwitchboardError catches all that is raised on purpose."""
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, Exception) and member.__module__ == errors.__name__:
            assert issubclass(member, errors.SwitchboardError)


def test_rpc_codes_are_the_contract() -> None:
    """Each JSON-RPC code has exactly one class."""
    classes = [cls for cls in errors.RpcError.__subclasses__() if cls.__module__ == errors.__name__]
    assert sorted(cls.code for cls in classes) == sorted(
        [-32700, -32600, -32601, -32602, -32603, -32001, -32003, -32004, -32009, -32029, -32050]
    )


def test_data_members_are_the_contract() -> None:
    """The fields of `data` that PROTOCOL.md promises are there."""
    assert errors.InvalidParams("no", path="text").data == {"path": "text"}
    assert errors.TooManyRequests("slow down", retry_after=1.5).data == {"retry_after": 1.5}
    assert errors.InternalError("ab12").data == {"incident": "ab12"}


def test_incident_ids_differ() -> None:
    """An incident id finds one place in the log."""
    assert len({errors.new_incident() for _ in range(1000)}) == 1000


def test_config_error_keeps_every_problem() -> None:
    """All problems are there, one a line, and apart."""
    error = errors.ConfigError(["a: wrong", "b: wrong"])
    assert error.problems == ("a: wrong", "b: wrong")
    assert str(error) == "a: wrong\nb: wrong"

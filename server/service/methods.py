"""Methods: a coroutine's signature is the contract. It decodes, validates and documents the params."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

import msgspec
from msgspec import NODEFAULT, Raw

from server.errors import InvalidParams
from server.service.jsonrpc import invalid_params

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_MARK = "__rpc_method__"


@overload
def method(function: F, /) -> F: ...
@overload
def method(*, name: str) -> Callable[[F], F]: ...
def method(function: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Let clients call a coroutine of an `RpcService`.

    Its parameters after `caller` are the params: their types validate, their defaults make them optional.

    Args:
        function: the coroutine.
        name: the method's name on the wire, where it is not the function's, as in `rooms.list`.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, name or function.__name__)
        return function

    return mark if function is None else mark(function)


class Method:
    """One method of a service class.

    Args:
        function: the coroutine, unbound.
        name: its name on the wire.

    Attributes:
        params: a msgspec Struct with the parameters.
        result: the type that it returns.
    """

    def __init__(self, function: Callable[..., Awaitable[Any]], name: str) -> None:
        self.function = function
        self.name = name
        hints = typing.get_type_hints(function, include_extras=True)
        self.result: Any = hints.pop("return", None)
        self.fields = _fields(function, hints)
        self.params = msgspec.defstruct(f"{name} params", self.fields, forbid_unknown_fields=True)
        positional = msgspec.defstruct(f"{name} params", self.fields, array_like=True, forbid_unknown_fields=True)
        self._by_name = msgspec.json.Decoder(self.params)
        self._by_position = msgspec.json.Decoder(positional)

    @property
    def doc(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.function) or ""

    def arguments(self, params: Raw) -> tuple[Any, ...]:
        """Decode and check the params, given by name or by position.

        Raises:
            InvalidParams: with the path of the bad field.
        """
        data = bytes(params)
        try:
            if data.startswith(b"["):
                return msgspec.structs.astuple(self._by_position.decode(data))
            return msgspec.structs.astuple(self._by_name.decode(b"{}" if data == b"null" else data))
        except msgspec.ValidationError as error:
            raise invalid_params(error) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise InvalidParams("The params cannot be read.") from None


def methods_of(cls: type) -> dict[str, Method]:
    """Collect the methods of a class, by their names on the wire."""
    methods: dict[str, Method] = {}
    for name in dir(cls):
        function = getattr(cls, name)
        wire = getattr(function, _MARK, None)
        if wire is not None:
            if not inspect.iscoroutinefunction(function):
                raise TypeError(f"{cls.__name__}.{name}: a method is an `async def`")
            methods[wire] = Method(function, wire)
    return methods


def _fields(function: Callable[..., Any], hints: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return name, type and default of each parameter after `self` and `caller`."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    fields = []
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(f"{function.__qualname__}: {parameter.name} has to be an ordinary parameter")
        if parameter.name not in hints:
            raise TypeError(f"{function.__qualname__}: {parameter.name} needs a type")
        default = NODEFAULT if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((parameter.name, hints[parameter.name], default))
    return fields

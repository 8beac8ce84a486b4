"""Methods: a coroutine's signature is the contract. It decodes, validates and documents the params."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, overload

import msgspec
from msgspec import NODEFAULT, Raw

from server.errors import InvalidParams, InvalidRequest

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_MARK = "__rpc_method__"
_RESERVED = "rpc."
"""Names that begin like this are the protocol's own (the specification's section 8)."""

_LOCATED = re.compile(r"(?P<what>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_NAMES_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(?P<field>.*)`", re.DOTALL)
_TOO_SHORT = re.compile(r"Expected `array` of at least length \d+, got (?P<length>\d+)")
_BY_POSITION = re.compile(r"\[(?P<index>\d+)\](?P<rest>.*)", re.DOTALL)
_PROBLEM_CHARS = 200


class BadMethod(TypeError):
    """A method cannot be what it is declared to be; the text begins with file and line."""

    def __init__(self, function: Callable[..., Any], problem: str) -> None:
        code = inspect.unwrap(function).__code__
        self.filename, self.line = code.co_filename, code.co_firstlineno
        super().__init__(f"{function.__qualname__}: {problem}")


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


class Field(NamedTuple):
    """A parameter of a method; the default is msgspec's NODEFAULT where there is none."""

    name: str
    type: Any
    default: Any


class Method:
    """One method of a service class.

    Args:
        function: the coroutine, unbound.
        name: its name on the wire.

    Attributes:
        fields: its parameters.
        result: the type that it returns.

    Raises:
        BadMethod: its signature cannot be a contract.
    """

    __slots__ = ("_by_name", "_by_position", "fields", "function", "name", "result")

    def __init__(self, function: Callable[..., Awaitable[Any]], name: str) -> None:
        self.function = function
        self.name = name
        if not inspect.iscoroutinefunction(function):
            raise BadMethod(function, "a method is an `async def`")
        try:
            hints = typing.get_type_hints(function, include_extras=True)
            self.fields = _fields(function, hints)
            self.result: Any = hints.get("return", Any)
            self._by_name = self._decoder(array_like=False)
            self._by_position = self._decoder(array_like=True)
        except BadMethod:
            raise
        except Exception as error:
            raise BadMethod(function, str(error)) from error

    @property
    def doc(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.function) or ""

    def arguments(self, params: Raw) -> tuple[Any, ...]:
        """Decode and check the params, given by name or by position.

        Raises:
            InvalidParams: with the path of the bad field.
            InvalidRequest: they are nested too deeply.
        """
        data = bytes(params)
        decoder = self._by_position if data[0] == 0x5B else self._by_name
        try:
            return msgspec.structs.astuple(decoder.decode(data))
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None
        except RecursionError:
            raise InvalidRequest("This is nested too deeply.") from None

    def _decoder(self, *, array_like: bool) -> msgspec.json.Decoder[msgspec.Struct]:
        struct = msgspec.defstruct(
            "params", list(self.fields), array_like=array_like, forbid_unknown_fields=True, gc=False
        )
        return msgspec.json.Decoder(struct)

    def _invalid(self, text: str) -> InvalidParams:
        """Turn what msgspec says into an error that names the field."""
        located = _LOCATED.fullmatch(text)
        what, path = (located["what"], located["path"]) if located else (text, "")
        if named := _NAMES_FIELD.fullmatch(what):
            path = f"{path}.{named['field']}"
        elif not path and (short := _TOO_SHORT.fullmatch(what)):
            path = self.fields[int(short["length"])].name
        elif by_position := _BY_POSITION.fullmatch(path):
            path = self.fields[int(by_position["index"])].name + by_position["rest"]
        return InvalidParams(f"{what[:_PROBLEM_CHARS]}.", path=path.removeprefix(".")[:_PROBLEM_CHARS])


def methods_of(cls: type) -> dict[str, Method]:
    """Collect the methods of a class, by their names on the wire.

    Raises:
        BadMethod: one cannot be a method, or two have one name.
    """
    methods: dict[str, Method] = {}
    for attribute in dir(cls):
        function = getattr(cls, attribute)
        name = getattr(function, _MARK, None)
        if name is None:
            continue
        if name in methods:
            raise BadMethod(function, f"{methods[name].function.__qualname__} is called {name} too")
        if name.startswith(_RESERVED) and not function.__module__.startswith("server."):
            raise BadMethod(function, f"names that begin with {_RESERVED} are JSON-RPC's own")
        methods[name] = Method(function, name)
    return methods


def _fields(function: Callable[..., Any], hints: dict[str, Any]) -> tuple[Field, ...]:
    """Return each parameter after `self` and `caller`."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2:
        raise BadMethod(function, "a method takes `self` and `caller` first")
    fields = []
    for parameter in parameters[2:]:
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise BadMethod(function, f"{parameter.name} has to be an ordinary parameter")
        if parameter.name not in hints:
            raise BadMethod(function, f"{parameter.name} needs a type")
        default = NODEFAULT if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append(Field(parameter.name, hints[parameter.name], default))
    return tuple(fields)

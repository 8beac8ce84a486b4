"""Signatures as contracts: what can be one, and what is told where one cannot."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from server import Caller, RpcService, method
from server.errors import InvalidParams, InvalidRequest
from server.service.methods import BadMethod, Method, methods_of


class Point(msgspec.Struct):
    """A place."""

    x: int
    y: int = 0


class Drawing:
    """A class with methods, as a service has them."""

    @method
    async def line(self, caller: Caller, start: Point, end: Point, colour: str = "black") -> bool:
        """Draw a line."""
        return True

    @method(name="shapes.circle")
    async def circle(self, caller: Caller, radius: Annotated[float, msgspec.Meta(gt=0)]) -> None: ...

    @method
    async def tags(self, caller: Caller, tags: dict[str, list[int]] | None = None) -> None: ...

    async def hidden(self, caller: Caller) -> None: ...


METHODS = methods_of(Drawing)


def arguments(name: str, params: Any) -> tuple[Any, ...]:
    return METHODS[name].arguments(Raw(msgspec.json.encode(params)))


def test_only_what_is_marked_can_be_called() -> None:
    """What is not marked cannot be called, and a name may have dots."""
    assert sorted(METHODS) == ["line", "shapes.circle", "tags"]


@given(st.integers(-(2**60), 2**60), st.text(st.characters(exclude_categories=["Cs"])))
def test_by_name_and_by_position_mean_the_same(x: int, colour: str) -> None:
    """Params by name and by position give the coroutine the same arguments."""
    by_name = arguments("line", {"end": {"x": x}, "colour": colour, "start": {"x": 1, "y": x}})
    assert by_name == (Point(1, x), Point(x), colour)
    assert arguments("line", [{"x": 1, "y": x}, {"x": x}, colour]) == by_name


@pytest.mark.parametrize(
    ("name", "params", "path", "problem"),
    [
        ("line", {"start": {"x": 1}}, "end", "Object missing required field `end`."),
        ("line", [{"x": 1}], "end", "Expected `array` of at least length 2, got 1."),
        ("line", {"start": {}, "end": {"x": 1}}, "start.x", "Object missing required field `x`."),
        ("line", [{"x": 1}, {"x": "1"}], "end.x", "Expected `int`, got `str`."),
        ("line", [{"x": 1}, {"x": 1}, "red", 4], "", "Expected `array` of at most length 3."),
        ("line", {"start": {"x": 1}, "end": {"x": 1}, "color": "red"}, "color", None),
        ("shapes.circle", {"radius": 0}, "radius", "Expected `float` > 0.0."),
        ("tags", {"tags": {"a": [1, None]}}, "tags[...][1]", "Expected `int`, got `null`."),
        ("tags", {"x" * 10000: 1}, "x" * 200, None),
    ],
)
def test_what_does_not_fit_is_named(name: str, params: Any, path: str, problem: str | None) -> None:
    """The error names the field, by name also where the params came by position."""
    with pytest.raises(InvalidParams) as invalid:
        arguments(name, params)
    assert invalid.value.path == path
    assert len(invalid.value.message) < 300
    assert problem is None or invalid.value.message == problem


def test_nesting_without_end() -> None:
    """Params that nest without end are refused, whatever type is expected."""

    class Nested:
        @method
        async def any(self, caller: Caller, value: Any) -> None: ...

    called = methods_of(Nested)["any"]
    with pytest.raises(InvalidRequest):
        called.arguments(Raw(b"[" * 20000 + b"]" * 20000))


def test_a_subclass_has_the_methods_of_its_base() -> None:
    """Methods are inherited, and replaced by a marked one of the same name on the wire and in the class."""

    class Coloured(Drawing):
        @method
        async def line(self, caller: Caller, colour: str) -> None:  # type: ignore[override]  # that is what is tested
            """Draw a coloured line."""

    assert sorted(methods_of(Coloured)) == sorted(METHODS)
    assert [field.name for field in methods_of(Coloured)["line"].fields] == ["colour"]


class NotACoroutine:
    @method  # type: ignore[type-var]  # that is what is tested
    def plain(self, caller: Caller) -> None: ...


class WithoutType:
    @method
    async def untyped(self, caller: Caller, x) -> None: ...  # type: ignore[no-untyped-def]  # that is what is tested


class WithoutCaller:
    @method
    async def lonely(self) -> None: ...


class KeywordOnly:
    @method
    async def keyword(self, caller: Caller, *, x: int) -> None: ...


class Rest:
    @method
    async def rest(self, caller: Caller, *x: int) -> None: ...


class Unknown:
    @method
    async def unknown(self, caller: Caller, x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 tested


class Impossible:
    @method
    async def impossible(self, caller: Caller, x: set[int] | list[int]) -> None: ...


class Twice:
    @method(name="a")
    async def one(self, caller: Caller) -> None: ...

    @method(name="a")
    async def two(self, caller: Caller) -> None: ...


class Reserved:
    @method(name="rpc.mine")
    async def mine(self, caller: Caller) -> None: ...


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (NotACoroutine, "`async def`"),
        (WithoutType, "x needs a type"),
        (WithoutCaller, "takes `self` and `caller` first"),
        (KeywordOnly, "x has to be an ordinary parameter"),
        (Rest, "x has to be an ordinary parameter"),
        (Unknown, "Nowhere"),
        (Impossible, "more than one array-like"),
        (Twice, "is called a too"),
        (Reserved, "JSON-RPC's own"),
    ],
)
def test_what_cannot_be_a_method(cls: type, problem: str) -> None:
    """A signature that is no contract is refused when the service is loaded, with file and line."""
    with pytest.raises(BadMethod, match=problem) as bad:
        methods_of(cls)
    assert bad.value.filename == __file__
    assert cls.__name__ in str(bad.value)
    assert bad.value.line > 0


def test_the_engine_has_a_reserved_name() -> None:
    """`rpc.discover` is the engine's own."""
    assert isinstance(methods_of(RpcService)["rpc.discover"], Method)

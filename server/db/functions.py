"""Functions of the database. Names that Python has taken end in an underscore, as `in_` does."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from server.db.compiler import Compilable, Compiler
from server.db.errors import QueryError
from server.db.expressions import Expression, Predicate, Template, Value
from server.db.value_types import FLOAT, INTEGER, TEXT, TIMESTAMP, Kind, ValueType

T = TypeVar("T")


class Function(Expression[T]):
    """A call of a function."""

    __slots__ = ("arguments", "function", "value_type")

    def __init__(self, function: str, arguments: tuple[Compilable, ...], value_type: ValueType | None) -> None:
        self.function = function
        self.arguments = arguments
        self.value_type = value_type

    def compile(self, out: Compiler) -> None:
        out.text(f"{self.function}(")
        out.separated(self.arguments)
        out.text(")")


class Count(Expression[int]):
    """How many rows, or values, there are."""

    __slots__ = ("distinct", "expression")
    value_type = INTEGER

    def __init__(self, expression: Expression[Any] | None, *, distinct: bool) -> None:
        self.expression = expression
        self.distinct = distinct

    def compile(self, out: Compiler) -> None:
        if self.expression is None:
            out.text("count(*)")
        else:
            out.template("count(DISTINCT {})" if self.distinct else "count({})", self.expression)


class Average(Expression[float]):
    """The mean of an expression's values."""

    __slots__ = ("expression",)
    value_type = FLOAT

    def __init__(self, expression: Expression[Any]) -> None:
        self.expression = expression

    def compile(self, out: Compiler) -> None:
        out.template(out.dialect.average, self.expression)
        value_type = self.expression.value_type
        if value_type is not None and value_type.kind is Kind.DECIMAL and out.dialect.scales_decimals:
            out.text(f" / 1e{value_type.places}")


class Length(Expression[int]):
    """How many characters a text has."""

    __slots__ = ("expression",)
    value_type = INTEGER

    def __init__(self, expression: Expression[Any]) -> None:
        self.expression = expression

    def compile(self, out: Compiler) -> None:
        out.template(out.dialect.character_length + "({})", self.expression)


class Present(Expression[Any]):
    """The moment at which the statement runs."""

    __slots__ = ()
    value_type = TIMESTAMP

    def compile(self, out: Compiler) -> None:
        out.text(out.dialect.present)


class Case(Expression[T]):
    """The value of the first predicate that is true."""

    __slots__ = ("branches", "otherwise", "value_type")

    def __init__(
        self,
        branches: tuple[tuple[Predicate, Expression[T]], ...],
        otherwise: Expression[T],
        value_type: ValueType | None,
    ) -> None:
        self.branches = branches
        self.otherwise = otherwise
        self.value_type = value_type

    def compile(self, out: Compiler) -> None:
        out.text("CASE")
        for predicate, value in self.branches:
            out.template(" WHEN {} THEN {}", predicate, value)
        out.template(" ELSE {} END", self.otherwise)


def count(expression: Expression[Any] | None = None, *, distinct: bool = False) -> Expression[int]:
    """Count rows, or rows in which an expression has a value, or its different values."""
    return Count(expression, distinct=distinct)


def sum_(expression: Expression[T]) -> Expression[T | None]:
    """Add up; None over no rows."""
    return Function("sum", (expression,), expression.value_type)


def min_(expression: Expression[T]) -> Expression[T | None]:
    """Return the smallest value; None over no rows."""
    return Function("min", (expression,), expression.value_type)


def max_(expression: Expression[T]) -> Expression[T | None]:
    """Return the largest value; None over no rows."""
    return Function("max", (expression,), expression.value_type)


def avg(expression: Expression[Any]) -> Expression[float | None]:
    """Return the mean; None over no rows."""
    return Average(expression)  # type: ignore[return-value]  # None over no rows


def lower(expression: Expression[Any]) -> Expression[str]:
    """Return the text in lower case."""
    return Function("lower", (expression,), TEXT)


def length(expression: Expression[Any]) -> Expression[int]:
    """Return the number of characters."""
    return Length(expression)


def coalesce(expression: Expression[T | None], default: Expression[T] | T) -> Expression[T]:
    """Return the expression's value, or the default where it has none."""
    return Function("coalesce", (expression, expression.operand(default)), expression.value_type)


def current_timestamp() -> Expression[Any]:
    """Return the moment at which the statement runs, by the clock of the database: as a default, or in an update."""
    return Present()


@overload
def case(*branches: tuple[Predicate, Expression[T]], else_: Expression[T] | T) -> Expression[T]: ...
@overload
def case(*branches: tuple[Predicate, T], else_: Expression[T] | T) -> Expression[T]: ...
def case(*branches: tuple[Predicate, Any], else_: Any) -> Expression[Any]:
    """Return the value that stands beside the first predicate that is true.

    Args:
        branches: predicates and values.
        else_: the value when none is true.
    """
    if not branches:
        raise QueryError("a case needs at least one predicate and its value")
    values = [*(value for _, value in branches), else_]
    typed = next((v for v in values if isinstance(v, Expression) and v.value_type is not None), None)
    value_type = typed.value_type if typed is not None else _type_of(values)

    def expression(value: Any) -> Expression[Any]:
        return value if isinstance(value, Expression) else Value(value, value_type)

    return Case(tuple((p, expression(v)) for p, v in branches), expression(else_), value_type)


def exists(query: Compilable) -> Predicate:
    """Tell whether a query has any row."""
    return Template("EXISTS {}", query)


def _type_of(values: list[Any]) -> ValueType | None:
    """Return the type of plain values, where it can be told."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return INTEGER
    if kinds and kinds <= {int, float}:
        return FLOAT
    return TEXT if kinds == {str} else None

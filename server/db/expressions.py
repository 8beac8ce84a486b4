"""Expressions: what Python's operators build, and how it becomes SQL text and, apart from it, arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from server.db.dialects import Dialect, Kind
from server.db.errors import QueryError

T = TypeVar("T")

_LIKE_ESCAPE = "\\"
_LIKE_SPECIAL = str.maketrans({c: _LIKE_ESCAPE + c for c in "\\%_"})


class Compiler:
    """Collects the text and the arguments of one statement.

    Args:
        dialect: the database that the statement is for.

    Attributes:
        arguments: the values, in the order of their placeholders.
        qualified: whether columns are written with their table's name.
    """

    __slots__ = ("_parts", "arguments", "dialect", "qualified")

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.arguments: list[Any] = []
        self.qualified = False
        self._parts: list[str] = []

    @property
    def sql(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def text(self, text: str) -> None:
        """Add SQL text; never a value."""
        self._parts.append(text)

    def name(self, name: str) -> None:
        """Add an identifier."""
        self._parts.append(self.dialect.quote(name))

    def value(self, value: Any, kind: Kind | None) -> None:
        """Add a placeholder and its argument, in the form in which the database keeps it."""
        encoder = None if kind is None or value is None else self.dialect.encoders.get(kind)
        self.arguments.append(value if encoder is None else encoder(value))
        self._parts.append(self.dialect.placeholder)

    def separated(self, expressions: Iterable[Compilable], separator: str = ", ") -> None:
        """Add expressions with something between them."""
        for index, expression in enumerate(expressions):
            if index:
                self._parts.append(separator)
            expression.compile(self)


class Compilable(ABC):
    """Whatever can write itself into a statement."""

    __slots__ = ()

    @abstractmethod
    def compile(self, out: Compiler) -> None:
        """Write text and arguments."""


class Expression(Compilable, Generic[T]):
    """Something that has a value for each row: a column, a function of columns, a subquery.

    Attributes:
        kind: what the value is, so that arguments beside it are kept in the same form; None when it is unknown.
    """

    __slots__ = ()
    kind: Kind | None = None

    # Comparisons.

    def __eq__(self, other: Expression[T] | T) -> Predicate:  # type: ignore[override]  # builds SQL, as every ORM's does
        return _compare(self, "=", other)

    def __ne__(self, other: Expression[T] | T) -> Predicate:  # type: ignore[override]  # builds SQL
        return _compare(self, "<>", other)

    def __lt__(self, other: Expression[T] | T) -> Predicate:
        return _compare(self, "<", other)

    def __le__(self, other: Expression[T] | T) -> Predicate:
        return _compare(self, "<=", other)

    def __gt__(self, other: Expression[T] | T) -> Predicate:
        return _compare(self, ">", other)

    def __ge__(self, other: Expression[T] | T) -> Predicate:
        return _compare(self, ">=", other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise QueryError(
            "a query expression has no truth in Python: write & | ~ instead of and, or, not, "
            "and is_null() or in_() instead of `is None` or `in`"
        )

    def is_null(self) -> Predicate:
        """Tell whether there is no value."""
        return Postfix(self, " IS NULL")

    def is_not_null(self) -> Predicate:
        """Tell whether there is a value."""
        return Postfix(self, " IS NOT NULL")

    def between(self, low: Expression[T] | T, high: Expression[T] | T) -> Predicate:
        """Tell whether the value lies between two others, both included."""
        return (self >= low) & (self <= high)

    def in_(self, values: Iterable[T] | Compilable) -> Predicate:
        """Tell whether the value is one of a list, which may be empty, or of a subquery's."""
        if isinstance(values, Compilable):
            return Membership(self, values)
        return Membership(self, [operand(value, self.kind) for value in values])

    # Text. What the user typed is never a pattern.

    def startswith(self, text: str) -> Predicate:
        """Tell whether the text begins with another; `%` and `_` in it are themselves."""
        return Like(self, text.translate(_LIKE_SPECIAL) + "%")

    def endswith(self, text: str) -> Predicate:
        """Tell whether the text ends with another."""
        return Like(self, "%" + text.translate(_LIKE_SPECIAL))

    def contains(self, text: str) -> Predicate:
        """Tell whether the text has another in it."""
        return Like(self, "%" + text.translate(_LIKE_SPECIAL) + "%")

    def like(self, pattern: str) -> Predicate:
        """Compare with a pattern in which `%` is any text and `_` any character; a backslash escapes them."""
        return Like(self, pattern)

    # Arithmetic and concatenation.

    def __add__(self, other: Expression[T] | T) -> Expression[T]:
        return Binary(self, "+", operand(other, self.kind), self.kind)

    def __radd__(self, other: T) -> Expression[T]:
        return Binary(operand(other, self.kind), "+", self, self.kind)

    def __sub__(self, other: Expression[T] | T) -> Expression[T]:
        return Binary(self, "-", operand(other, self.kind), self.kind)

    def __rsub__(self, other: T) -> Expression[T]:
        return Binary(operand(other, self.kind), "-", self, self.kind)

    def __mul__(self, other: Expression[T] | T) -> Expression[T]:
        return Binary(self, "*", operand(other, self.kind), self.kind)

    def concat(self, other: Expression[T] | T) -> Expression[T]:
        """Join two texts."""
        return Binary(self, "||", operand(other, self.kind), self.kind)

    # Order.

    def asc(self) -> Ordering:
        """Order by this, smallest first."""
        return Ordering(self, "")

    def desc(self) -> Ordering:
        """Order by this, largest first."""
        return Ordering(self, " DESC")


class Predicate(Expression[bool]):
    """An expression that is true or not for each row."""

    __slots__ = ()
    kind = Kind.BOOLEAN

    def __and__(self, other: Predicate) -> Predicate:
        return Logical(self, "AND", other)

    def __or__(self, other: Predicate) -> Predicate:
        return Logical(self, "OR", other)

    def __invert__(self) -> Predicate:
        return Not(self)


class Value(Expression[T]):
    """A value from Python; it travels apart from the text."""

    __slots__ = ("kind", "value")

    def __init__(self, value: T, kind: Kind | None = None) -> None:
        self.value = value
        self.kind = kind

    def compile(self, out: Compiler) -> None:
        out.value(self.value, self.kind)


class Binary(Expression[T]):
    """Two expressions with an operator between them."""

    __slots__ = ("kind", "left", "operator", "right")

    def __init__(self, left: Expression[Any], operator: str, right: Expression[Any], kind: Kind | None) -> None:
        self.left = left
        self.operator = operator
        self.right = right
        self.kind = kind

    def compile(self, out: Compiler) -> None:
        out.text("(")
        self.left.compile(out)
        out.text(f" {self.operator} ")
        self.right.compile(out)
        out.text(")")


class Comparison(Predicate):
    """Two expressions compared."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, left: Expression[Any], operator: str, right: Expression[Any]) -> None:
        self.left = left
        self.operator = operator
        self.right = right

    def compile(self, out: Compiler) -> None:
        self.left.compile(out)
        out.text(f" {self.operator} ")
        self.right.compile(out)


class Logical(Predicate):
    """Predicates joined by AND or OR; one operator's chain is one level of parentheses."""

    __slots__ = ("operator", "predicates")

    def __init__(self, left: Predicate, operator: str, right: Predicate) -> None:
        self.operator = operator
        chain = left.predicates if isinstance(left, Logical) and left.operator == operator else (left,)
        self.predicates: tuple[Predicate, ...] = (*chain, right)

    def compile(self, out: Compiler) -> None:
        out.text("(")
        out.separated(self.predicates, f" {self.operator} ")
        out.text(")")


class Not(Predicate):
    """The opposite of a predicate."""

    __slots__ = ("predicate",)

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def compile(self, out: Compiler) -> None:
        out.text("NOT (")
        self.predicate.compile(out)
        out.text(")")


class Postfix(Predicate):
    """An expression with an operator behind it."""

    __slots__ = ("expression", "operator")

    def __init__(self, expression: Expression[Any], operator: str) -> None:
        self.expression = expression
        self.operator = operator

    def compile(self, out: Compiler) -> None:
        self.expression.compile(out)
        out.text(self.operator)


class Membership(Predicate):
    """An expression and the values it may have."""

    __slots__ = ("expression", "values")

    def __init__(self, expression: Expression[Any], values: Compilable | list[Expression[Any]]) -> None:
        self.expression = expression
        self.values = values

    def compile(self, out: Compiler) -> None:
        if isinstance(self.values, list):
            if not self.values:
                out.text("1 = 0")  # `IN ()` is no SQL; nothing is in an empty list
                return
            self.expression.compile(out)
            out.text(" IN (")
            out.separated(self.values)
            out.text(")")
        else:
            self.expression.compile(out)
            out.text(" IN ")
            self.values.compile(out)


class Like(Predicate):
    """A text and a pattern."""

    __slots__ = ("expression", "pattern")

    def __init__(self, expression: Expression[Any], pattern: str) -> None:
        self.expression = expression
        self.pattern = pattern

    def compile(self, out: Compiler) -> None:
        self.expression.compile(out)
        out.text(" LIKE ")
        out.value(self.pattern, None)
        out.text(f" ESCAPE '{_LIKE_ESCAPE}'")


class Function(Expression[T]):
    """A function of the database."""

    __slots__ = ("arguments", "function", "kind")

    def __init__(self, function: str, arguments: tuple[Compilable, ...], kind: Kind | None) -> None:
        self.function = function
        self.arguments = arguments
        self.kind = kind

    def compile(self, out: Compiler) -> None:
        out.text(f"{self.function}(")
        if self.arguments:
            out.separated(self.arguments)
        else:
            out.text("*")
        out.text(")")


class Ordering(Compilable):
    """An expression and a direction."""

    __slots__ = ("direction", "expression")

    def __init__(self, expression: Expression[Any], direction: str) -> None:
        self.expression = expression
        self.direction = direction

    def compile(self, out: Compiler) -> None:
        self.expression.compile(out)
        out.text(self.direction)


def count(expression: Expression[Any] | None = None) -> Expression[int]:
    """Count rows, or rows in which an expression has a value."""
    return Function("count", () if expression is None else (expression,), Kind.INTEGER)


def total(expression: Expression[T]) -> Expression[T | None]:
    """Add up; None over no rows."""
    return Function("sum", (expression,), expression.kind)


def minimum(expression: Expression[T]) -> Expression[T | None]:
    """Return the smallest value; None over no rows."""
    return Function("min", (expression,), expression.kind)


def maximum(expression: Expression[T]) -> Expression[T | None]:
    """Return the largest value; None over no rows."""
    return Function("max", (expression,), expression.kind)


def lower(expression: Expression[str]) -> Expression[str]:
    """Return the text in lower case, as the database folds it."""
    return Function("lower", (expression,), Kind.TEXT)


def length(expression: Expression[str]) -> Expression[int]:
    """Return the number of characters."""
    return Function("length", (expression,), Kind.INTEGER)


def coalesce(expression: Expression[T | None], default: Expression[T] | T) -> Expression[T]:
    """Return the expression's value, or the default where it has none."""
    return Function("coalesce", (expression, operand(default, expression.kind)), expression.kind)


def operand(value: Any, kind: Kind | None) -> Expression[Any]:
    """Return an expression as it is, and a value as an argument of a kind."""
    return value if isinstance(value, Expression) else Value(value, kind)


def _compare(left: Expression[Any], operator: str, other: Any) -> Predicate:
    if other is None:
        raise QueryError(f"nothing is {operator} NULL in SQL; write is_null() or is_not_null()")
    return Comparison(left, operator, operand(other, left.kind))

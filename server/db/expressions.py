"""Expressions: what Python's operators build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

from server.db.compiler import Compilable, Compiler
from server.db.errors import QueryError
from server.db.value_types import BOOLEAN, FLOAT, INTEGER, TEXT, Kind, ValueType, text_beyond

T = TypeVar("T")
Nulls = Literal["first", "last"]


class Expression(Compilable, Generic[T]):
    """Something that has a value for each row: a column, a function of columns, a subquery.

    Attributes:
        value_type: what the value is, so that arguments beside it are kept in the same form; None when it is unknown.
    """

    __slots__ = ()
    value_type: ValueType | None = None

    def operand(self, value: Any) -> Expression[Any]:
        """Return an expression as it is, and a value as an argument of this expression's type."""
        return value if isinstance(value, Expression) else Value(value, self.value_type)

    # Comparisons.

    def __eq__(self, other: Expression[T] | T) -> Predicate:  # type: ignore[override]  # builds SQL, as every ORM's does
        return self._compare("=", other)

    def __ne__(self, other: Expression[T] | T) -> Predicate:  # type: ignore[override]  # builds SQL
        return self._compare("<>", other)

    def __lt__(self, other: Expression[T] | T) -> Predicate:
        return self._compare("<", other)

    def __le__(self, other: Expression[T] | T) -> Predicate:
        return self._compare("<=", other)

    def __gt__(self, other: Expression[T] | T) -> Predicate:
        return self._compare(">", other)

    def __ge__(self, other: Expression[T] | T) -> Predicate:
        return self._compare(">=", other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise QueryError(
            "a query expression has no truth in Python: write & | ~ instead of and, or, not, "
            "and is_null() or in_() instead of `is None` or `in`"
        )

    def _compare(self, operator: str, other: Any) -> Predicate:
        if other is None:
            raise QueryError(f"nothing is {operator} NULL in SQL; write is_null() or is_not_null()")
        return Comparison(self, operator, self.operand(other))

    def is_null(self) -> Predicate:
        """Tell whether there is no value."""
        return Template("{} IS NULL", self)

    def is_not_null(self) -> Predicate:
        """Tell whether there is a value."""
        return Template("{} IS NOT NULL", self)

    def between(self, low: Expression[T] | T, high: Expression[T] | T) -> Predicate:
        """Tell whether the value lies between two others, both included."""
        return Template("{} BETWEEN {} AND {}", self, self.operand(low), self.operand(high))

    def in_(self, values: Iterable[T] | Compilable) -> Predicate:
        """Tell whether the value is one of a list, which may be empty, or of a subquery's."""
        if isinstance(values, Compilable):
            return Membership(self, values)
        if isinstance(values, str | bytes):
            raise QueryError("in_ takes a list of values, not a text")
        return Membership(self, [self.operand(value) for value in values])

    def __and__(self: Truth, other: Truth) -> Predicate:
        return Logical(self, "AND", other)

    def __or__(self: Truth, other: Truth) -> Predicate:
        return Logical(self, "OR", other)

    def __invert__(self: Truth) -> Predicate:
        return Not(checked_truth(self, "~ takes"))

    # Text. What somebody typed is never a pattern.

    def startswith(self, text: str) -> Predicate:
        """Tell whether the text begins with another. An index on the column is used."""
        beyond = text_beyond(text)
        low = Comparison(self, ">=", Value(text, TEXT))
        return low if beyond is None else low & Comparison(self, "<", Value(beyond, TEXT))

    def endswith(self, text: str) -> Predicate:
        """Tell whether the text ends with another."""
        if not text:
            return self.startswith(text)
        return Ending(self, text)

    def contains(self, text: str) -> Predicate:
        """Tell whether the text has another in it."""
        return Template("instr({}, {}) > 0", self, Value(text, TEXT))

    def like(self, pattern: str) -> Predicate:
        """Compare with a pattern, heeding case: `%` is any text, `_` any character; a backslash escapes them."""
        return Like(self, pattern)

    # Arithmetic and concatenation.

    def __add__(self, other: Expression[T] | T) -> Expression[T]:
        return Binary(self, "+", self.operand(other), self.value_type)

    def __radd__(self, other: T) -> Expression[T]:
        return Binary(self.operand(other), "+", self, self.value_type)

    def __sub__(self, other: Expression[T] | T) -> Expression[T]:
        return Binary(self, "-", self.operand(other), self.value_type)

    def __rsub__(self, other: T) -> Expression[T]:
        return Binary(self.operand(other), "-", self, self.value_type)

    def __mul__(self, other: Expression[T] | T | int) -> Expression[T]:
        if self.value_type is not None and self.value_type.kind is Kind.DECIMAL:
            return Binary(self, "*", _whole(other), self.value_type)
        return Binary(self, "*", self.operand(other), self.value_type)

    def __rmul__(self, other: T | int) -> Expression[T]:
        return self * other

    def __truediv__(self, other: Expression[Any] | float) -> Expression[float]:
        """Divide as Python does: the result is a floating-point number, and NULL when the divisor is 0."""
        if self.value_type is not None and self.value_type.kind is Kind.DECIMAL:
            raise QueryError("a decimal number is divided in Python, where it is said how to round")
        return Division(self, "division", _number(other))

    def __mod__(self, other: Expression[int] | int) -> Expression[int]:
        """The remainder of a division of whole numbers; it has the sign of the dividend, as in SQL."""
        return Division(self, "remainder", other if isinstance(other, Expression) else Value(other, INTEGER))

    def __neg__(self) -> Expression[T]:
        return Enclosed("(- {})", self.value_type, self)

    def concat(self, *others: Expression[Any] | str) -> Expression[str]:
        """Join texts."""
        return Concatenation((self, *(o if isinstance(o, Expression) else Value(o, TEXT) for o in others)))

    def label(self, name: str) -> Labelled[T]:
        """Give it a name among the columns of a query."""
        return Labelled(self, name)

    # Order.

    def asc(self, *, nulls: Nulls | None = None) -> Ordering:
        """Order by this, smallest first.

        Args:
            nulls: where rows without a value come; by default before the smallest.
        """
        return Ordering(self, descending=False, nulls=nulls)

    def desc(self, *, nulls: Nulls | None = None) -> Ordering:
        """Order by this, largest first; rows without a value come behind the smallest unless `nulls` says otherwise."""
        return Ordering(self, descending=True, nulls=nulls)


class Predicate(Expression[bool]):
    """An expression that is true or not for each row."""

    __slots__ = ()
    value_type = BOOLEAN


Truth: TypeAlias = Expression[bool] | Expression[bool | None]
"""What is true or not: a predicate, or a Boolean column."""


def checked_truth(expression: Any, who: str) -> Truth:
    """Return an expression that is true or not.

    Raises:
        QueryError: it is none.
    """
    value_type = expression.value_type if isinstance(expression, Expression) else None
    if value_type is None or value_type.kind is not Kind.BOOLEAN:
        raise QueryError(f"{who} predicates such as Table.column == value, not {expression!r}")
    return cast("Truth", expression)


class Value(Expression[T]):
    """A value from Python; it travels apart from the text."""

    __slots__ = ("value", "value_type")

    def __init__(self, value: T, value_type: ValueType | None = None) -> None:
        self.value = value
        self.value_type = value_type

    def compile(self, out: Compiler) -> None:
        out.value(self.value, self.value_type)


class Labelled(Expression[T]):
    """An expression with the name that it has among the columns of a query; elsewhere it is just the expression."""

    __slots__ = ("expression", "name", "value_type")

    def __init__(self, expression: Expression[T], name: str) -> None:
        self.expression = expression
        self.name = name
        self.value_type = expression.value_type

    def compile(self, out: Compiler) -> None:
        self.expression.compile(out)


class Enclosed(Expression[T]):
    """Expressions inside some text."""

    __slots__ = ("expressions", "text", "value_type")

    def __init__(self, text: str, value_type: ValueType | None, *expressions: Expression[Any]) -> None:
        self.text = text
        self.value_type = value_type
        self.expressions = expressions

    def compile(self, out: Compiler) -> None:
        out.template(self.text, *self.expressions)


class Template(Predicate):
    """A predicate: expressions inside some text."""

    __slots__ = ("expressions", "text")

    def __init__(self, text: str, *expressions: Compilable) -> None:
        self.text = text
        self.expressions = expressions

    def compile(self, out: Compiler) -> None:
        out.template(self.text, *(_grouped(e) for e in self.expressions))


class Binary(Expression[T]):
    """Two expressions with an operator between them."""

    __slots__ = ("left", "operator", "right", "value_type")

    def __init__(self, left: Expression[Any], operator: str, right: Expression[Any], value_type: ValueType | None):
        self.left = left
        self.operator = operator
        self.right = right
        self.value_type = value_type

    def compile(self, out: Compiler) -> None:
        out.template(f"({{}} {self.operator} {{}})", self.left, self.right)


class Division(Expression[Any]):
    """A division, or the remainder of one; each database has its own way to write what Python means."""

    __slots__ = ("left", "part", "right", "value_type")

    def __init__(self, left: Expression[Any], part: Literal["division", "remainder"], right: Expression[Any]) -> None:
        self.left = left
        self.right = right
        self.part = part
        self.value_type = FLOAT if part == "division" else INTEGER

    def compile(self, out: Compiler) -> None:
        template = out.dialect.division if self.part == "division" else out.dialect.remainder
        out.template(template, self.left, self.right)


class Concatenation(Expression[str]):
    """Texts joined."""

    __slots__ = ("texts",)
    value_type = TEXT

    def __init__(self, texts: tuple[Expression[Any], ...]) -> None:
        self.texts = texts

    def compile(self, out: Compiler) -> None:
        opening, separator, closing = out.dialect.concatenation
        out.text(opening)
        out.separated(self.texts, separator)
        out.text(closing)


class Comparison(Predicate):
    """Two expressions compared."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, left: Expression[Any], operator: str, right: Expression[Any]) -> None:
        self.left = left
        self.operator = operator
        self.right = right

    def compile(self, out: Compiler) -> None:
        _grouped(self.left).compile(out)
        out.text(f" {self.operator} ")
        _grouped(self.right).compile(out)


class Logical(Predicate):
    """Predicates joined by AND or OR; one operator's chain is one level of parentheses."""

    __slots__ = ("operator", "predicates")

    def __init__(self, left: Truth, operator: str, right: Truth) -> None:
        self.operator = operator
        chain = left.predicates if isinstance(left, Logical) and left.operator == operator else (left,)
        self.predicates: tuple[Truth, ...] = (*chain, right)
        for predicate in self.predicates[-2:]:
            checked_truth(predicate, "& and | take")

    def compile(self, out: Compiler) -> None:
        out.text("(")
        out.separated(self.predicates, f" {self.operator} ")
        out.text(")")


class Not(Predicate):
    """The opposite of a predicate."""

    __slots__ = ("predicate",)

    def __init__(self, predicate: Truth) -> None:
        self.predicate = predicate

    def compile(self, out: Compiler) -> None:
        out.template("NOT ({})", self.predicate)


class Membership(Predicate):
    """An expression and the values it may have."""

    __slots__ = ("expression", "values")

    def __init__(self, expression: Expression[Any], values: Compilable | list[Expression[Any]]) -> None:
        self.expression = expression
        self.values = values

    def compile(self, out: Compiler) -> None:
        if isinstance(self.values, list) and not self.values:
            out.text("1 = 0")  # `IN ()` is no SQL; nothing is in an empty list
            return
        _grouped(self.expression).compile(out)
        if isinstance(self.values, list):
            out.text(" IN (")
            out.separated(self.values)
            out.text(")")
        else:
            out.text(" IN ")
            self.values.compile_list(out)


class Like(Predicate):
    """A text and a pattern."""

    __slots__ = ("expression", "pattern")

    def __init__(self, expression: Expression[Any], pattern: str) -> None:
        if "\0" in pattern:
            raise QueryError("a pattern has no NUL; contains, startswith and endswith take it")
        self.expression = expression
        self.pattern = pattern

    def compile(self, out: Compiler) -> None:
        operator, pattern = out.dialect.like(self.pattern)
        self.expression.compile(out)
        out.template(operator, Value(pattern, TEXT))


class Ending(Predicate):
    """A text and its end, compared as bytes: where characters are counted, a text may end at a zero byte."""

    __slots__ = ("expression", "text")

    def __init__(self, expression: Expression[Any], text: str) -> None:
        self.expression = expression
        self.text = text

    def compile(self, out: Compiler) -> None:
        size = len(self.text.encode("utf-8", "surrogatepass"))
        binary = out.dialect.binary
        # SQLite finds nothing, not even that it is different, in no bytes at all: so there is always one before.
        one = Value("," if self.text.startswith(".") else ".", TEXT)
        out.template(
            f"substr(CAST({{}} AS {binary}), {{}}) = CAST({{}} AS {binary})",
            Concatenation((one, self.expression)),
            Value(-size, INTEGER),
            Value(self.text, TEXT),
        )


class Ordering(Compilable):
    """An expression and a direction.

    Args:
        expression: what is ordered by.
        descending: whether the largest comes first.
        nulls: where rows without a value come.
    """

    __slots__ = ("descending", "expression", "nulls")

    def __init__(self, expression: Expression[Any], *, descending: bool, nulls: Nulls | None = None) -> None:
        self.expression = expression
        self.descending = descending
        self.nulls = nulls

    def compile(self, out: Compiler) -> None:
        if self.nulls is not None and not out.dialect.orders_nulls:
            out.template("{} IS NULL" + (" DESC, " if self.nulls == "first" else ", "), self.expression)
        self.expression.compile(out)
        if self.descending:
            out.text(" DESC")
        if self.nulls is not None and out.dialect.orders_nulls:
            out.text(f" NULLS {self.nulls.upper()}")


def _grouped(expression: Compilable) -> Compilable:
    """Put a predicate that is compared into parentheses: SQL's precedence differs from database to database."""
    if isinstance(expression, Predicate) and not isinstance(expression, Logical):
        return Enclosed("({})", BOOLEAN, expression)
    return expression


def _number(value: Expression[Any] | float) -> Expression[Any]:
    if isinstance(value, Expression):
        return value
    return Value(value, INTEGER if type(value) is int else FLOAT)


def _whole(value: Any) -> Expression[Any]:
    if isinstance(value, Expression) and (value.value_type is None or value.value_type.kind is Kind.INTEGER):
        return value
    if type(value) is int:
        return Value(value, INTEGER)
    raise QueryError(
        "a decimal number is multiplied by whole ones; with others in Python, where it is said how to round"
    )

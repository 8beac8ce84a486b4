"""How a query becomes SQL text and, apart from it, arguments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.value_types import ValueType


class Compiler:
    """Collects the text and the arguments of one statement.

    Args:
        dialect: the database that the statement is for.
        outer: the compiler of the statement around this one, which has the common table expressions.

    Attributes:
        arguments: the values, in the order of their placeholders.
        qualified: whether columns are written with their table's name.
        home: the only table whose columns can stand without its name; None where names are qualified.
        writing: the table that the statement writes; None for a select.
        tables: the common table expressions that stand before the statement, in the order in which they need each
            other: for each name its text and its arguments, or None while it is being written.
        recursive: whether one of them refers to itself.
        mentioned: collects the columns that are written, where somebody wants to know them.
    """

    __slots__ = ("_parts", "arguments", "dialect", "home", "mentioned", "qualified", "recursive", "tables", "writing")

    def __init__(self, dialect: Dialect, outer: Compiler | None = None) -> None:
        self.dialect = dialect
        self.arguments: list[Any] = []
        self.qualified = False
        self.home: Any = None
        self.recursive = False
        self.writing: str | None = None
        self.mentioned: set[Any] | None = None
        self.tables: dict[str, tuple[str, list[Any]] | None] = {} if outer is None else outer.tables
        self._parts: list[str] = []

    @property
    def body(self) -> str:
        """The text so far, without the common table expressions that stand before it."""
        return "".join(self._parts)

    def finish(self) -> tuple[str, Sequence[Any]]:
        """Return the whole text and all arguments."""
        if not self.tables:
            return "".join(self._parts), self.arguments
        written = [(name, *table) for name, table in self.tables.items() if table is not None]
        definitions = ", ".join(f"{self.dialect.quote(name)} AS ({text})" for name, text, _ in written)
        arguments = [argument for _, _, values in written for argument in values]
        return f"WITH {'RECURSIVE ' if self.recursive else ''}{definitions} {self.body}", arguments + self.arguments

    def text(self, text: str) -> None:
        """Add SQL text; never a value."""
        self._parts.append(text)

    def name(self, name: str) -> None:
        """Add an identifier."""
        self._parts.append(self.dialect.quote(name))

    def value(self, value: Any, value_type: ValueType | None) -> None:
        """Add a placeholder and its argument, in the form in which the database keeps it.

        Raises:
            QueryError: the value is of another type.
        """
        self._parts.append(self.dialect.placeholder)
        if value is not None and value_type is not None:
            try:
                value = self.dialect.encoder(value_type)(value)
            except (TypeError, ValueError, msgspec.MsgspecError) as error:
                raise QueryError(f"an argument of the query {error}") from None
        self.arguments.append(value)

    def separated(self, expressions: Iterable[Compilable], separator: str = ", ") -> None:
        """Add expressions with something between them."""
        for index, expression in enumerate(expressions):
            if index:
                self._parts.append(separator)
            expression.compile(self)

    def template(self, template: str, *expressions: Compilable) -> None:
        """Add text with an expression in the place of each `{}`."""
        first, *others = template.split("{}")
        self._parts.append(first)
        for expression, text in zip(expressions, others, strict=True):
            expression.compile(self)
            self._parts.append(text)

    @contextmanager
    def qualifying(self, qualified: bool) -> Iterator[None]:
        """Write columns with their table's name, or without, for a while."""
        before, self.qualified = self.qualified, qualified
        yield
        self.qualified = before


class Compilable:
    """Whatever can write itself into a statement.

    It is no ABC, because an ABC is slow to ask for: every value of a query is asked whether it is an expression.
    """

    __slots__ = ()

    @abstractmethod
    def compile(self, out: Compiler) -> None:
        """Write text and arguments."""

    def compile_list(self, out: Compiler) -> None:
        """Write what stands behind IN."""
        self.compile(out)

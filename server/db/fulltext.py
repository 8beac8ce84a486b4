"""Full-text search: a declaration on the class, and a predicate that takes what somebody typed."""

from __future__ import annotations

import re

from server.db.columns import Table, single_key, written_name
from server.db.compiler import Compiler
from server.db.expressions import Predicate, Value
from server.db.value_types import TEXT

_WORD = re.compile(r"\w+")


class FullText:
    """An index of the words in some columns, kept by the database; it needs a key of one whole number.

    `words = FullText("title", "text")` is searched by `Note.words.matches("what somebody typed")`.

    Args:
        columns: the names of the text columns.
    """

    def __init__(self, *columns: str) -> None:
        self.columns = columns
        self.name = ""

    def __set_name__(self, owner: type[Table], name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type[Table]) -> Words:
        return Words(owner, self)


class Words:
    """The words of a table's rows, in a query."""

    __slots__ = ("_index", "_owner")

    def __init__(self, owner: type[Table], index: FullText) -> None:
        self._owner = owner
        self._index = index

    def matches(self, text: str, *, prefix: bool = False) -> Predicate:
        """Tell whether a row has all words of a text, in any order and any case.

        What a transaction wrote itself may be found only after its commit.

        Args:
            text: what somebody typed; nothing in it is syntax. A text without any word matches nothing.
            prefix: whether the last word may go on.
        """
        return Match(self._owner, self._index, _WORD.findall(text), prefix=prefix)


class Match(Predicate):
    """Whether a row has all of some words."""

    __slots__ = ("index_name", "owner", "prefix", "words")

    def __init__(self, owner: type[Table], index: FullText, words: list[str], *, prefix: bool) -> None:
        self.owner = owner
        self.index_name = full_text_name(owner.dbo_tablename, index.name)
        self.words = words
        self.prefix = prefix

    def compile(self, out: Compiler) -> None:
        if not self.words:
            out.text("(1 = 0)")
            return
        source, key = written_name(self.owner), single_key(self.owner).name
        parts = out.dialect.match(source, key, self.index_name, self.words, prefix=self.prefix)
        for number, (template, argument) in enumerate(parts):
            out.text(" AND " if number else "(")
            out.template(template, Value(argument, TEXT))
        out.text(")")


def full_text_name(table: str, name: str) -> str:
    """Return the name that an index has in the database."""
    return f"{table}_{name}"

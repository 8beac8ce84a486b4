"""Python source, laid out as ruff would do it: on one line where it fits, else one thing a line."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

WIDTH = 120


class Text(msgspec.Struct, frozen=True):
    """Something that is not taken apart, and what follows it directly.

    Args:
        text: as it stands in the file.
        after: such as the value of a keyword.
    """

    text: str
    after: Node | None = None


class Call(msgspec.Struct, frozen=True):
    """A call.

    Args:
        name: of what is called.
        arguments: in order.
        explode: whether each has a line of its own even where they fit into one.
    """

    name: str
    arguments: Sequence[Node]
    explode: bool = False


class Rows(msgspec.Struct, frozen=True):
    """The display of a dictionary, always one pair a line.

    Args:
        opening: what stands before.
        closing: what stands behind.
        pairs: keys and values.
    """

    opening: str
    closing: str
    pairs: Sequence[tuple[Text, Node]]


Node: TypeAlias = Text | Call | Rows


def laid_out(node: Node, indent: int, behind: str = "", before: int = 0) -> str:
    """Return the text of something; its first line is not indented.

    Args:
        node: what it is.
        indent: of the line that it begins in, in columns.
        behind: what follows it on the same line.
        before: how many columns of the line are taken already, besides the indent.
    """
    line = _one_line(node)
    if line is not None and indent + before + len(line) + len(behind) <= WIDTH:
        return line
    inner, margin = indent + 4, " " * (indent + 4)
    match node:
        case Text(text=text, after=after):
            return text if after is None else text + laid_out(after, indent, behind, before + len(text))
        case Call(name=name, arguments=arguments):
            if not arguments:
                return f"{name}()"
            lines = [f"{margin}{laid_out(argument, inner, ',')}," for argument in arguments]
            return "\n".join([f"{name}(", *lines, f"{' ' * indent})"])
        case Rows(opening=opening, closing=closing, pairs=pairs):
            lines = [f"{margin}{k.text}: {laid_out(v, inner, ',', len(k.text) + 2)}," for k, v in pairs]
            return "\n".join([opening, *lines, f"{' ' * indent}{closing}"])


def _one_line(node: Node) -> str | None:
    """Return something as one line; None where it has several anyway."""
    match node:
        case Text(text=text, after=after):
            behind = "" if after is None else _one_line(after)
            return None if behind is None else text + behind
        case Call(name=name, arguments=arguments, explode=explode):
            parts = [_one_line(argument) for argument in arguments]
            known = [part for part in parts if part is not None]
            return f"{name}({', '.join(known)})" if len(known) == len(parts) and not explode else None
        case Rows(opening=opening, closing=closing, pairs=pairs):
            return None if pairs else opening + closing


def literal(value: Any) -> str:
    """Return the Python text of a plain value; moments and the like as of `dt`, `decimal` and `uuid`."""
    match value:
        case str():
            return _quoted(value)
        case dt.datetime():
            return f"dt.datetime.fromisoformat({_quoted(value.isoformat())})"
        case dt.date():
            return f"dt.date.fromisoformat({_quoted(value.isoformat())})"
        case decimal.Decimal():
            return f"decimal.Decimal({_quoted(str(value))})"
        case uuid.UUID():
            return f"uuid.UUID({_quoted(str(value))})"
        case list() | tuple():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
        case bytes():
            text = repr(value)
            return f'b"{text[2:-1]}"' if text[1] == "'" and '"' not in text else text
    return repr(value)


def _quoted(text: str) -> str:
    """Quote text the way that needs fewer backslashes, with double quotes where both need as many."""
    written = repr(text)[1:-1].replace("\\'", "'")
    if text.count('"') > text.count("'"):
        return "'" + written.replace("'", "\\'") + "'"
    return '"' + written.replace('"', '\\"') + '"'

"""Rows as the driver gives them become rows, or objects, as Python has them.

This is the hottest loop of every query for many rows, so it is written out for each shape of row, as dataclasses write
their methods: one comprehension that takes each row apart by position.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import repeat
from typing import Any

from server.db.backends import Row
from server.db.columns import ColumnExpression, Table
from server.db.dialects import Dialect
from server.db.expressions import Expression
from server.db.value_types import Kind, ValueType

Shape = tuple[tuple[ValueType | None, bool], ...]
"""The types of a row's values, and whether each is computed."""
RowsDecoder = Callable[[list[Row]], list[Any]]


def rows_decoder(expressions: Sequence[Expression[Any]], dialect: Dialect, late: Collection[int] = ()) -> RowsDecoder:
    """Return what turns the database's rows of these expressions into Python's; written once for each shape of row.

    Args:
        expressions: what a row consists of.
        dialect: the database.
        late: the places that stay as they are.
    """
    # Of what is computed the form may be another than a column's.
    shape = tuple(
        (None if i in late else expression.value_type, not isinstance(expression, ColumnExpression))
        for i, expression in enumerate(expressions)
    )
    decoder: RowsDecoder | None = dialect.rows_decoders.get(shape)
    if decoder is None:
        decoder = dialect.rows_decoders[shape] = _written(shape, dialect)
    return decoder


def _written(shape: Shape, dialect: Dialect) -> RowsDecoder:
    decoders = [None if kept is None else dialect.decoder(kept, computed=computed) for kept, computed in shape]
    if not any(decoders):
        return lambda rows: rows
    names: dict[str, Any] = {}
    cells, columns, decoded = [], [], []
    for position, ((value_type, _), decode) in enumerate(zip(shape, decoders, strict=True)):
        value = f"v{position}"
        whole = dialect.column_decoders.get(value_type.kind) if value_type is not None and decode is not None else None
        names[f"decode{position}"] = whole or decode
        if whole is not None:
            columns.append(f"decode{position}([row[{position}] for row in rows])")
            decoded.append(f"d{position}")
            value = f"d{position}"
        elif decode is not None:
            value = f"None if {value} is None else decode{position}({value})"
        cells.append(value)
    taken = "".join(f"v{position}, " for position in range(len(cells)))
    target = ", ".join([f"({taken})", *decoded]) if decoded else taken
    source = f"zip(rows, {', '.join(columns)})" if columns else "rows"
    # Nothing but positions is in this text.
    decoder: RowsDecoder = eval(f"lambda rows: [({', '.join(cells)},) for {target} in {source}]", names)  # noqa: S307 as said above
    return decoder


def object_loader(home: type[Table], dialect: Dialect) -> RowsDecoder:
    """Return what makes objects of a class of its rows."""
    loader: RowsDecoder | None = home.dbo_cache.get((dialect, "loader"))
    if loader is None:
        loader = home.dbo_cache[dialect, "loader"] = _object_loader(home, dialect)
    return loader


def _object_loader(home: type[Table], dialect: Dialect) -> RowsDecoder:
    late = [column.position for column in home.dbo_columns if column.late]
    decode = rows_decoder(home.dbo_expressions, dialect, late)
    mutable = [column.position for column in home.dbo_columns if column.value_type.kind is Kind.JSON]

    def load(rows: list[Row]) -> list[Any]:
        objects: list[Any] = list(map(object.__new__, repeat(home, len(rows))))
        for instance, values in zip(objects, decode(rows), strict=True):
            instance.dbo_values = values
        if mutable:
            for instance, row in zip(objects, rows, strict=True):
                instance.dbo_kept = {position: row[position] for position in mutable}
        return objects

    return load

"""Rows become what Python has: each value by its type, and nothing where there is none."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db import max_
from server.db.decoding import object_loader, rows_decoder
from server.db.dialects import Dialect, to_microseconds
from server.db.mysql.dialect import MARIADB
from server.db.sqlite.dialect import SQLITE
from tests.server.db.tables import MOMENT, Author, Note

MOMENTS = st.datetimes(timezones=st.just(dt.UTC))


@given(st.lists(st.none() | MOMENTS, max_size=20))
def test_moments_of_many_rows_are_exact(moments: list[dt.datetime | None]) -> None:
    """Whichever years they are of, and wherever there is none: to the microsecond, on SQLite as on MariaDB."""
    expressions = (Author.id, Author.born)
    kept: list[tuple[Any, ...]] = [(n, m and to_microseconds(m)) for n, m in enumerate(moments)]
    texts: list[tuple[Any, ...]] = [
        (n, m and m.replace(tzinfo=None).isoformat(" ", "microseconds")) for n, m in enumerate(moments)
    ]
    assert rows_decoder(expressions, SQLITE)(kept) == list(enumerate(moments))
    assert rows_decoder(expressions, MARIADB)(texts) == list(enumerate(moments))


@pytest.mark.parametrize("dialect", [SQLITE, MARIADB])
def test_a_shape_is_written_once(dialect: Dialect) -> None:
    """Queries for the same columns share what decodes them; a computed value is not taken for a column's."""
    decoder = rows_decoder((Note.id, Note.done, Note.made_at), dialect)
    assert rows_decoder((Note.id, Note.done, Note.made_at), dialect) is decoder
    assert rows_decoder((Note.done, Note.id, Note.made_at), dialect) is not decoder
    assert rows_decoder((max_(Note.id),), MARIADB)([("3",)]) == [(3,)]


def test_rows_without_anything_to_decode_stay_what_they_are() -> None:
    """Whole numbers and texts are not touched."""
    rows: list[tuple[Any, ...]] = [(1, "a"), (2, "b")]
    assert rows_decoder((Note.id, Note.text), SQLITE)(rows) is rows


def test_objects_of_rows() -> None:
    """An object is stored, unchanged, and what changes in place is remembered as it was."""
    row = (1, 2, 3, "text", None, 1.5, 1, None, '["a"]', to_microseconds(MOMENT))
    (note,) = object_loader(Note, SQLITE)([row])
    assert (note.id, note.done, note.tags, note.made_at) == (1, True, ["a"], MOMENT)
    assert note.dbo_stored
    assert note.changed_columns() == []
    assert object_loader(Note, SQLITE)([]) == []

"""Expressions: the text they become, and what the database means by it."""

from __future__ import annotations

import decimal
from typing import Any

import pytest

from server.db import Database, Expression, Predicate, QueryError, max_
from server.db.compiler import Compilable
from server.db.sqlite.dialect import SQLITE
from tests.server.db.golden import SERVERS, for_servers, golden
from tests.server.db.tables import MOMENT, Author, Color, Everything, Label, Note, Pair


@pytest.mark.parametrize(
    ("expression", "sqlite", "servers", "arguments"),
    [
        (Note.number == 3, "number = ?", None, [3]),
        (Note.number != 3, "number <> ?", None, [3]),
        (Note.number < Note.id, "number < id", None, []),
        (
            (Note.number >= 1) & (Note.number <= 2) & (Note.id > 0),
            "(number >= ? AND number <= ? AND id > ?)",
            None,
            [1, 2, 0],
        ),
        ((Note.number == 1) | ~(Note.text == "a"), "(number = ? OR NOT (text = ?))", None, [1, "a"]),
        ((Note.id == 1) & ((Note.id == 2) | (Note.id == 3)), "(id = ? AND (id = ? OR id = ?))", None, [1, 2, 3]),
        ((Note.number == 1) == (Note.id == 2), "(number = ?) = (id = ?)", None, [1, 2]),
        (Note.number.between(1, Note.id), "number BETWEEN ? AND id", None, [1]),
        (Note.comment.is_null(), "comment IS NULL", None, []),
        (Note.comment.is_not_null(), "comment IS NOT NULL", None, []),
        (Note.id.in_([1, 2]), "id IN (?, ?)", None, [1, 2]),
        (Note.id.in_([]), "1 = 0", None, []),
        (Note.text.startswith("50%_\\"), "(text >= ? AND text < ?)", None, ["50%_\\", "50%_]"]),
        (Note.text.startswith(""), "text >= ?", None, [""]),
        (Note.text.startswith("\U0010ffff"), "text >= ?", None, ["\U0010ffff"]),
        (
            Note.text.endswith("é%"),
            "substr(CAST((? || text) AS BLOB), ?) = CAST(? AS BLOB)",
            "substr(CAST(concat(%s, text) AS BINARY), %s) = CAST(%s AS BINARY)",
            [".", -3, "é%"],
        ),
        (Note.text.contains("x%"), "instr(text, ?) > 0", None, ["x%"]),
        (Note.text.like("a_%"), "text GLOB ?", "text LIKE %s ESCAPE '|'", ["a?*"]),
        (Note.text.like("a\\_\\%[*?|b"), "text GLOB ?", "text LIKE %s ESCAPE '|'", ["a_%[[][*][?]|b"]),
        (Note.number + 1 - Note.id * 2, "((number + ?) - (id * ?))", None, [1, 2]),
        (10 - Note.number, "(? - number)", None, [10]),
        (-Note.number, "(- number)", None, []),
        (Note.number / 2, "(CAST(number AS REAL) / ?)", "((number + 0e0) / %s)", [2]),
        (Note.number % 2, "(number % ?)", "(number MOD %s)", [2]),
        (Everything.price * 2, "(price * ?)", None, [2]),
        (Note.text.concat("!", Author.name), "(text || ? || name)", "concat(text, %s, name)", ["!"]),
        (Note.id.desc(), "id DESC", None, []),
        (Note.id.asc(), "id", None, []),
        (Note.comment.asc(nulls="first"), "comment NULLS FIRST", "comment IS NULL DESC, comment", []),
        (Note.comment.asc(nulls="last"), "comment NULLS LAST", "comment IS NULL, comment", []),
        (Note.comment.desc(nulls="first"), "comment DESC NULLS FIRST", "comment IS NULL DESC, comment DESC", []),
        (Pair.order == "x", '"order" = ?', "`order` = %s", ["x"]),
        (Note.prefix("n").id == 1, "n.id = ?", None, [1]),
        (Note.author == Author(id=3, name="x"), "author = ?", None, [3]),
        (
            Note.author.in_(Author.select(None, Author.id).where(Author.name == "ann")),
            "author IN (SELECT authors.id FROM authors WHERE authors.name = ?)",
            None,
            ["ann"],
        ),
        (
            Note.author.in_(Author.select(None, Author.id).order_by(Author.id).limit(2)),
            "author IN (SELECT authors.id FROM authors ORDER BY authors.id LIMIT ?)",
            ("author IN (SELECT * FROM (SELECT authors.id FROM authors ORDER BY authors.id LIMIT %s) AS limited)"),
            [2],
        ),
        (
            Note.number == Note.prefix("o").select(None, max_(Note.prefix("o").number)),
            "number = (SELECT max(o.number) FROM notes AS o)",
            None,
            [],
        ),
    ],
)
def test_golden_sql(expression: Compilable, sqlite: str, servers: str | None, arguments: list[Any]) -> None:
    """Operators become readable text, and every value stands apart from it."""
    assert golden(expression, SQLITE)[0] == sqlite
    assert [str(argument) for argument in golden(expression, SQLITE)[1]] == [str(argument) for argument in arguments]
    for dialect in SERVERS:
        assert golden(expression, dialect)[0] == for_servers(sqlite, servers)


def test_truth_is_refused() -> None:
    """`and`, `or`, `not` and `is None` would be wrong in silence; they are an error that says what to write."""
    with pytest.raises(QueryError, match=r"write & \| ~"):
        bool(Note.id == 1)
    with pytest.raises(QueryError, match="is_null"):
        _ = Note.comment == None  # noqa: E711 what is tested
    with pytest.raises(QueryError, match="is_null"):
        _ = Note.comment != None  # noqa: E711 what is tested
    with pytest.raises(QueryError, match=r"& and \| take predicates"):
        _ = (Note.id == 1) & True  # type: ignore[operator]  # what is tested


@pytest.mark.parametrize(
    "expression",
    [
        lambda: Note.number == "3",
        lambda: Note.number + "3",  # type: ignore[operator]  # what is tested
        lambda: Note.text == 3,
        lambda: Note.made_at == MOMENT.replace(tzinfo=None),
        lambda: Everything.color == "red",
        lambda: Note.number.in_([1, "2"]),  # type: ignore[list-item]  # what is tested
        lambda: Note.number.between(1, 2.5),  # type: ignore[arg-type]  # what is tested
    ],
)
def test_values_of_another_type_are_refused(expression: Any) -> None:
    """A value is compared with a column only where it could stand in it; the error does not quote it."""
    with pytest.raises(QueryError, match="an argument of the query"):
        golden(expression(), SQLITE)


HOSTILE = (
    "'; DROP TABLE notes; --", "%", "_", "\\", "\\'",
    '"', "\0", "a\nb", "\x1a", "ünï😀", "?", "%s", "%(x)s", "[a]", "*",
    "|", "`", "{}", "\U0010ffff", " ", "NULL", "e\u0301",
)  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_values_are_literal(db: Database, hostile: str) -> None:
    """FAULTS 30: whatever stands in a value is itself, in comparisons, in lists and in what is searched."""
    author = await Author(name="ann").insert(db)
    await Note(author=author, number=1, text=f"a{hostile}").insert(db)
    await Note(author=author, number=2, text=f"{hostile}a").insert(db)
    await Note(author=author, number=3, text="other").insert(db)
    text = f"a{hostile}"
    assert await numbers(db, Note.text == text) == [1]
    assert await numbers(db, Note.text.in_([text, "none"])) == [1]
    assert await numbers(db, Note.text.startswith(text)) == [1]
    assert await numbers(db, Note.text.startswith(hostile)) == [2]
    assert await numbers(db, Note.text.contains(hostile)) == [1, 2]
    assert await numbers(db, Note.text.concat("!") == text + "!") == [1]
    assert await Note.update(db).set(Note.comment, hostile).where(Note.text == text) == 1
    assert await Note.select(db, Note.comment).where(Note.number == 1).scalar() == hostile


@pytest.mark.parametrize("hostile", [text for text in HOSTILE if "\0" not in text])
async def test_endings_are_literal(db: Database, hostile: str) -> None:
    """FAULTS 30: so they are at the end of a text."""
    await check_ending(db, hostile)


async def test_endings_with_a_zero_byte(db: Database) -> None:
    """Also what ends a text in C."""
    await check_ending(db, "\0")


async def check_ending(db: Database, hostile: str) -> None:
    author = await Author(name="ann").insert(db)
    await Note(author=author, number=1, text=f"a{hostile}").insert(db)
    await Note(author=author, number=2, text=f"{hostile}a").insert(db)
    assert await numbers(db, Note.text.endswith(hostile)) == [1]


async def test_comparisons_heed_case_accents_and_spaces(db: Database) -> None:
    """Text is compared as Python does, by code points, on every database."""
    texts = ["", " ", "A", "A ", "Z", "a", "a ", "ä", "b", "\uffff", "😀"]
    author = await Author(name="ann").insert(db)
    await Note.insert_many(db, [{Note.author: author, Note.number: i, Note.text: text} for i, text in enumerate(texts)])
    ordered = await Note.select(db, Note.text).order_by(Note.text).scalars()
    assert ordered == sorted(texts)
    for number, text in enumerate(texts):
        assert await numbers(db, Note.text == text) == [number]
        assert await numbers(db, Note.text > text) == [i for i, other in enumerate(texts) if other > text]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a%", ["a", "a%", "a_b", "ab", "a\\b"]),
        ("a_", ["a%", "ab"]),
        ("a\\%", ["a%"]),
        ("a\\_b", ["a_b"]),
        ("a\\\\b", ["a\\b"]),
        ("%b", ["[b", "a_b", "ab", "a\\b", "|b"]),
        ("[%", ["[b"]),
        ("|_", ["|b"]),
        ("A", []),
        ("", []),
    ],
)
async def test_like(db: Database, pattern: str, found: list[str]) -> None:
    """`%` and `_` stand for others unless a backslash is before them; case counts; nothing else is special."""
    author = await Author(name="ann").insert(db)
    texts = ["a", "a%", "a_b", "ab", "a\\b", "[b", "|b"]
    rows = [{Note.author: author, Note.number: i, Note.text: text} for i, text in enumerate(texts)]
    await Note.insert_many(db, rows)
    assert sorted(await Note.select(db, Note.text).where(Note.text.like(pattern)).scalars()) == sorted(found)


async def test_nothing_is_equal_to_null(db: Database) -> None:
    """Three-valued logic: rows without a value are found by is_null alone."""
    await Pair.insert_many(db, [{Pair.left: i, Pair.order: "x", Pair.value: v} for i, v in enumerate([None, 1, 2])])

    async def found(predicate: Predicate) -> list[int]:
        return await Pair.select(db, Pair.left).where(predicate).order_by(Pair.left).scalars()

    assert await found(Pair.value == 1) == [1]
    assert await found(Pair.value != 1) == [2]
    assert await found(~(Pair.value == 1)) == [2]
    assert await found(Pair.value.is_null()) == [0]
    assert await found(~Pair.value.is_null()) == [1, 2]
    assert await found((Pair.value == 1) | Pair.value.is_null()) == [0, 1]
    assert await found(Pair.value.in_([])) == []
    assert await found(~Pair.value.in_([1])) == [2]
    assert await found((Pair.value > 1) == (Pair.left > 1)) == [1, 2]


async def test_arithmetic(db: Database) -> None:
    """Numbers are computed as in Python, exactly where they are exact."""
    await Everything(integer=7, real=0.5, price=decimal.Decimal("1.250"), short="x").insert(db)
    columns: list[tuple[Expression[Any], Any]] = [
        (Everything.integer + 1, 8),
        (10 - Everything.integer, 3),
        (Everything.integer * 3, 21),
        (-Everything.integer, -7),
        (Everything.integer / 2, 3.5),
        (Everything.integer / 0, None),
        (Everything.integer % 4, 3),
        (Everything.real * 3, 1.5),
        (Everything.price + decimal.Decimal("0.005"), decimal.Decimal("1.255")),
        (decimal.Decimal(2) - Everything.price, decimal.Decimal("0.750")),
        (Everything.price * 2, decimal.Decimal("2.500")),
        (Everything.short.concat("y", "z"), "xyz"),
    ]
    for expression, expected in columns:
        assert await Everything.select(db, expression).scalar() == expected, golden(expression)
    for wrong in (lambda: Everything.price / 2, lambda: Everything.price * decimal.Decimal("1.5")):
        with pytest.raises(QueryError, match="in Python, where it is said how to round"):
            wrong()


async def test_lists_and_subqueries(db: Database) -> None:
    """What a value may be is a list or another query, which may have a limit, or be of the same table."""
    ann, ben = [await Author(name=name).insert(db) for name in ("ann", "ben")]
    for number in range(3):
        await Note(author=(ann, ben)[number % 2], number=number).insert(db)
    assert await numbers(db, Note.author.in_([ann, ben.id])) == [0, 1, 2]
    assert await numbers(db, Note.author.in_(Author.select(None, Author.id).where(Author.name == "ben"))) == [1]
    assert await numbers(db, ~Note.author.in_(Author.select(None, Author.id).where(Author.name == "ben"))) == [0, 2]
    assert await numbers(db, Note.author.in_(Author.select(None, Author.id).order_by(Author.id).limit(1))) == [0, 2]
    other = Note.prefix("other")
    assert await numbers(db, Note.number == other.select(None, max_(other.number))) == [2]
    assert await numbers(db, Note.author == Author.select(None, Author.id).where(Author.name == "ann")) == [0, 2]
    assert await numbers(db, Note.author == ben) == [1]
    note = await Note.get(db, 1)
    assert note is not None
    assert await numbers(db, Note.author == note.author) == [0, 2]


async def test_members_of_enumerations_are_values(db: Database) -> None:
    """An enumeration's member is compared as its value."""
    await Label.insert_many(db, [{Label.name: "r"}, {Label.name: "b", Label.color: Color.BLUE}])
    assert await Label.select(db, Label.name).where(Label.color == Color.BLUE).scalars() == ["b"]
    assert await Label.select(db, Label.color).where(Label.color.in_([Color.RED])).scalars() == [Color.RED]


async def test_parentheses_are_where_python_has_them(db: Database) -> None:
    """The order in which operators bind is Python's, whatever the database's is."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: n * n} for n in range(5)])
    query = Pair.select(db, Pair.left).order_by(Pair.left)
    assert await query.where((Pair.left + 1) * 2 == 6).scalars() == [2]
    assert await query.where(Pair.left - (Pair.left - 1) == 1).scalars() == [0, 1, 2, 3, 4]
    assert await query.where(((Pair.left == 1) | (Pair.left == 2)) & (Pair.value == 4)).scalars() == [2]
    assert await query.where(~(Pair.left > 1) | (Pair.value == 16)).scalars() == [0, 1, 4]
    assert await query.where((Pair.left > 1) != (Pair.value > 4)).scalars() == [2]


async def numbers(db: Database, predicate: Expression[bool]) -> list[int]:
    """Return the numbers of the notes that are found."""
    return await Note.select(db, Note.number).where(predicate).order_by(Note.number).scalars()


async def test_a_boolean_column_is_a_predicate(db: Database) -> None:
    """It can be asked for, denied and joined as it is; where there is no value it is neither."""
    author = await Author(name="ann").insert(db)
    for number, done in ((1, True), (2, False)):
        await Note(author=author, number=number, done=done).insert(db)
    assert await numbers(db, Note.done) == [1]
    assert await numbers(db, ~Note.done) == [2]
    assert await numbers(db, Note.done | (Note.number == 2)) == [1, 2]
    assert await numbers(db, (Note.number > 0) & ~Note.done) == [2]
    whole: Any = Note.number  # mypy refuses what follows; so does the query when it is made
    for wrong in (lambda: Note.select(None).where(whole), lambda: ~whole, lambda: Note.done & whole):
        with pytest.raises(QueryError, match="predicates such as"):
            wrong()

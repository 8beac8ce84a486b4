"""Full-text search: rows that have all words that somebody typed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db import Database, DbObject, FullText, Predicate, QueryError, Statement, Text
from server.db.compiler import Compilable
from server.db.schema import TableDefinition
from server.db.sqlite.dialect import SQLITE
from tests.server.db.golden import SERVERS, golden
from tests.server.db.tables import Article

ARTICLES = [
    ("Apples", "An apple a day keeps the doctor away"),
    ("Bananas", "Bananas are yellow; an APPLE is not. It is so."),
    ("Café", "Crème brûlée, œufs, naïve façade"),
    ("Code", "snake_case and x2 and C++ and a-b"),
    ("Кофе", "Привет, мир"),
    ("Empty", ""),
]


@pytest.mark.parametrize(
    ("predicate", "sqlite", "words", "servers", "arguments"),
    [
        (
            Article.words.matches('he"llo wor* it', prefix=False),
            "(articles.id IN (SELECT rowid FROM articles_words WHERE articles_words MATCH ?))",
            ['"he" "llo" "wor" "it"'],
            (
                "(MATCH (articles.articles_words) AGAINST (%s IN BOOLEAN MODE) "
                "AND articles.articles_words REGEXP %s AND articles.articles_words REGEXP %s)"
            ),
            ['+"llo" +"wor"', r"\bhe\b", r"\bit\b"],
        ),
        (
            Article.words.matches("hello wor", prefix=True),
            "(articles.id IN (SELECT rowid FROM articles_words WHERE articles_words MATCH ?))",
            ['"hello" "wor"*'],
            "(MATCH (articles.articles_words) AGAINST (%s IN BOOLEAN MODE))",
            ['+"hello" +wor*'],
        ),
        (Article.words.matches("+-*"), "(1 = 0)", [], "(1 = 0)", []),
    ],
)
def test_golden_sql(predicate: Predicate, sqlite: str, words: list[str], servers: str, arguments: list[str]) -> None:
    """Words stand in an argument, quoted; nothing that was typed is syntax of the search."""
    assert golden(predicate, SQLITE) == (sqlite, words)
    for dialect in SERVERS:
        assert golden(predicate, dialect) == (servers, arguments)


@pytest.fixture
async def articles(db: Database) -> Database:
    """Some texts."""
    await Article.insert_many(db, [{Article.title: title, Article.body: body} for title, body in ARTICLES])
    return db


async def found(db: Database, text: str, *, prefix: bool = False) -> list[str]:
    query = Article.select(db, Article.title).where(Article.words.matches(text, prefix=prefix))
    return await query.order_by(Article.id).scalars()


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("apple", ["Apples", "Bananas"]),
        ("Apple DAY", ["Apples"]),
        ("day apple", ["Apples"]),
        ("bananas", ["Bananas"]),
        ("appl", []),
        ("apple nothing", []),
        ("creme", ["Café"]),
        ("CRÈME brulee", ["Café"]),
        ("cafe", ["Café"]),
        ("привет", ["Кофе"]),
        ("кофе мир", ["Кофе"]),
        ("snake_case", ["Code"]),
        ("x2", ["Code"]),
        ("a", ["Apples", "Code"]),
        ("an", ["Apples", "Bananas"]),
        ("it is", ["Bananas"]),
        ("the doctor", ["Apples"]),
        ("a-b", ["Code"]),
        ("the", ["Apples"]),
        ("are", ["Bananas"]),
        ("", []),
        ("!?", []),
    ],
)
async def test_words(articles: Database, text: str, titles: list[str]) -> None:
    """All words, in any order and any case, short and common ones too; a text without words finds nothing."""
    assert await found(articles, text) == titles


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("appl", ["Apples", "Bananas"]),
        ("apple da", ["Apples"]),
        ("da apple", []),
        ("B", ["Bananas", "Café", "Code"]),
        ("при", ["Кофе"]),
        ("cre", ["Café"]),
        ("zzz", []),
    ],
)
async def test_the_beginning_of_the_last_word(articles: Database, text: str, titles: list[str]) -> None:
    """While somebody types, the last word may go on; those before it are whole."""
    assert await found(articles, text, prefix=True) == titles


@pytest.mark.parametrize(
    "hostile",
    [
        "apple*", "apple AND banana", "apple OR nothing", "NOT apple", 'apple"', "'apple", "apple)", "(apple",
        "title:apple", "-apple", "+apple", "~apple", "<apple", ">apple", "@apple", "apple@3", "NEAR(apple day)",
        "apple\\", "\\bapple", "apple\0", "apple; DROP TABLE articles", "%", "{apple}", "^apple", "apple " * 50,
        "ap.le", "[a]pple", "(?i)apple", "x" * 1000, "apple 😀",
    ],
)  # fmt: skip
async def test_what_is_typed_is_never_syntax(articles: Database, hostile: str) -> None:
    """FAULTS 30: operators of the database's search language are words, or separate words, and no errors."""
    for prefix in (False, True):
        assert set(await found(articles, hostile, prefix=prefix)) <= {"Apples", "Bananas"}
    assert await Article.select(articles).count() == len(ARTICLES)


async def test_the_index_follows_the_table(articles: Database) -> None:
    """What is written, changed and deleted is found, found differently, and not found, from the commit on."""
    article = await Article(title="New", body="cherries").insert(articles)
    assert await found(articles, "cherries") == ["New"]
    article.body = "plums"
    await article.save(articles)
    assert await found(articles, "cherries") == []
    assert await found(articles, "plums") == ["New"]
    await Article.update(articles).set(Article.title, "Newer").where(Article.id == article.id)
    assert await found(articles, "newer plums") == ["Newer"]
    await article.delete(articles)
    assert await found(articles, "plums") == []
    with pytest.raises(KeyError):
        async with articles.transaction() as tx:
            await Article(title="Gone", body="plums").insert(tx)
            raise KeyError
    assert await found(articles, "plums") == []
    assert await Article.delete_from(articles).all_rows() == len(ARTICLES)
    assert await found(articles, "apple") == []


async def test_beside_other_predicates(articles: Database) -> None:
    """It is a predicate like any other: with others, negated, in a join, under a prefix, and in a write."""
    apple = Article.words.matches("apple")
    query = Article.select(articles, Article.title).order_by(Article.id)
    assert await query.where(apple, Article.id > 1).scalars() == ["Bananas"]
    assert await query.where(apple | (Article.title == "Empty")).scalars() == ["Apples", "Bananas", "Empty"]
    assert await query.where(~apple, Article.id < 4).scalars() == ["Café"]
    other = Article.prefix("other")
    prefixed = other.select(articles, other.title).where(other.words.matches("apple")).order_by(other.id)
    assert await prefixed.scalars() == ["Apples", "Bananas"]
    joined = (
        Article.select(articles, Article.title, other.title)
        .join(other, other.id == Article.id + 1)
        .where(other.words.matches("banana", prefix=True))
    )
    assert await joined == [("Apples", "Bananas")]
    assert await Article.update(articles).set(Article.title, "x").where(apple) == 2
    assert await Article.delete_from(articles).where(Article.words.matches("yellow")) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=30), prefix=st.booleans())
async def test_any_text_can_be_searched_for(db: Database, text: str, prefix: bool) -> None:
    """Whatever is typed is no error."""
    assert await Article.select(db).where(Article.words.matches(text, prefix=prefix)) == []


def test_the_statements_that_make_and_remove_it() -> None:
    """One virtual table and its triggers on SQLite; a column with an index of its own on the servers."""
    definition = TableDefinition.of(Article)
    sqlite = list(definition.create(SQLITE))
    assert sqlite[1].startswith("CREATE VIRTUAL TABLE articles_words USING fts5(title, body, content=articles")
    assert [statement.split()[2] for statement in sqlite[2:5]] == [
        "articles_words_insert", "articles_words_delete", "articles_words_update",
    ]  # fmt: skip
    assert len(SQLITE.drop_full_text("articles", "articles_words")) == 4
    for dialect in SERVERS:
        _, column, index = definition.create(dialect)
        assert column.startswith("ALTER TABLE articles ADD COLUMN articles_words LONGTEXT")
        assert index == "CREATE FULLTEXT INDEX articles_words ON articles (articles_words)"


async def test_it_can_be_made_later(db: Database) -> None:
    """An index over a table that has rows already finds them; removing it leaves the rows."""

    dropped = db.dialect.drop_full_text("articles", "articles_words")
    made = db.dialect.create_full_text("articles", "articles_words", ["title", "body"], "id")
    for sql in dropped:
        await db.execute(Statement(sql))
    await Article(title="Old", body="pears").insert(db)
    for sql in made:
        await db.execute(Statement(sql))
    assert await found(db, "pears") == ["Old"]


def test_a_key_of_another_kind_is_refused() -> None:
    """The index refers to rows by whole numbers."""

    class Named(DbObject):
        dbo_tablename = "named"
        name = Text(max_length=5, primary_key=True)
        words = FullText("name")

    for dialect in (SQLITE, *SERVERS):
        with pytest.raises(QueryError, match=r"named\.words: a full-text index needs a primary key of one whole"):
            list(TableDefinition.of(Named).create(dialect))
    assert isinstance(Article.words.matches("x"), Compilable)

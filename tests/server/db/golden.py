"""What the golden-SQL tests share."""

from __future__ import annotations

from typing import Any

from server.db.compiler import Compilable, Compiler
from server.db.dialects import Dialect
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.queries import Query
from server.db.sqlite.dialect import SQLITE

SERVERS: tuple[Dialect, ...] = (MYSQL, MARIADB)


def golden(expression: Compilable, dialect: Dialect = SQLITE) -> tuple[str, list[Any]]:
    """Return the text and the arguments of an expression."""
    out = Compiler(dialect)
    expression.compile(out)
    sql, arguments = out.finish()
    return sql, list(arguments)


def golden_query(query: Query[Any], dialect: Dialect = SQLITE) -> tuple[str, list[Any]]:
    """Return the text and the arguments of a query."""
    statement = query.statement(dialect)
    return statement.sql, list(statement.arguments)


def for_servers(sqlite: str, servers: str | None) -> str:
    """Return the text for MySQL and MariaDB, where None says that only the placeholders differ."""
    return sqlite.replace("?", "%s") if servers is None else servers

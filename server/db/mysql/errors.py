"""Errors of the server and of the connection, as ours. No value and no password ever stands in their text."""

from __future__ import annotations

import re

from server.db.errors import (
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    OutcomeUnknown,
    QueryError,
    TransactionConflict,
    Unavailable,
    UniqueViolation,
    UnusableDatabase,
)
from server.db.mysql.answers import ServerError

_UNIQUE = {1062, 1169, 1586}
_FOREIGN_KEY = {1216, 1217, 1451, 1452}
_CONSTRAINT = {
    1022,  # a duplicate key in a write
    1048,  # NULL where there has to be a value
    1364,  # no value and no default
    3819,  # MySQL: a check
    4025,  # MariaDB: a check
}
_CONFLICTS = {
    1020: "a row was changed by another transaction",
    1205: "a lock was not free in time",
    1213: "a deadlock",
    1412: "a table was changed by a migration",
    3572: "a lock was not free",
}
_UNAVAILABLE = {
    1021,  # disk full
    1030,  # a storage engine's error
    1037,  # out of memory
    1038,
    1040,  # too many connections
    1041,
    1047,  # a cluster's node that is not ready
    1053,  # shutting down
    1114,  # table full
    1129,  # host blocked
    1158,  # the network, as the server sees it
    1159,
    1160,
    1161,
    1180,  # an error in a commit
    1203,  # too many connections of the user
    1206,  # too many locks
    1226,  # the user's resources are used up
    1290,  # read only
    1317,  # the query was stopped
    1637,  # too many transactions
    1836,  # read only
    1927,  # the connection was ended
    1969,  # MariaDB: the statement took too long
    3024,  # MySQL: the same
}
_REFUSED = {
    1044,  # no right to the database
    1045,  # wrong user or password
    1049,  # no such database
    1698,  # wrong user or password
}
_NAMES_ONLY = {1050, 1051, 1052, 1054, 1060, 1061, 1064, 1066, 1072, 1091, 1109, 1142, 1146, 1176, 1264, 1305, 1406}
"""Errors that quote names of tables, columns, functions and keys, but no values; the syntax error is cut apart."""

_KEY = re.compile(r"^.* for key '(.*)'$", re.DOTALL)  # greedy: the value before it may look like a key
_NAME = re.compile(r"['`]([^'`]+)['`]")
_FOREIGN_KEY_COLUMNS = re.compile(r"`([^`]+)`, CONSTRAINT `[^`]*` FOREIGN KEY \(([^)]*)\)")


class ConnectionLost(Exception):
    """The connection was lost, or the answer took too long; it is closed.

    Args:
        reason: what happened.
        sent: how many statements had been sent.
        answered: whether a part of the answer had come.
        expired: whether it is our deadline that ended it.
    """

    def __init__(self, reason: str, *, sent: int = 0, answered: bool = False, expired: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        self.answered = answered
        self.expired = expired


def translated(error: ServerError) -> DatabaseError:
    """Return our error for the server's answer to a statement."""
    code = error.code
    if code in _UNIQUE:
        key = _KEY.match(error.message)
        return UniqueViolation(f"{key[1] if key else 'a key'} is taken")
    if code in _FOREIGN_KEY:
        found = _FOREIGN_KEY_COLUMNS.search(error.message)
        name = f"{found[1]}.{found[2].replace('`', '')}" if found else "a row"
        return ForeignKeyViolation(f"{name} refers to a row that does not exist, or is referred to")
    if code in _CONSTRAINT:
        constraint = _NAME.search(error.message)
        return IntegrityError(f"{constraint[1] if constraint else 'the statement'} violates the schema")
    if code in _CONFLICTS:
        return TransactionConflict(f"{_CONFLICTS[code]}; the transaction was rolled back")
    if code in _UNAVAILABLE or code in _REFUSED:
        return Unavailable(f"the database is not available: {without_values(error)}")
    return QueryError(without_values(error))


def refused(error: ServerError, where: str) -> DatabaseError:
    """Return our error for the server's answer to an attempt to connect."""
    if error.code in _REFUSED:
        return UnusableDatabase(f"the database server at {where} refuses: {error.message} ({error.code})")
    return Unavailable(f"the database server at {where} refuses: {without_values(error)}")


def lost(error: ConnectionLost, *, committing: bool = False) -> Unavailable:
    """Return our error for a lost connection.

    Args:
        error: how it was lost.
        committing: whether a commit may have been under way.
    """
    if committing:
        return OutcomeUnknown(f"{error}: it may or may not have been written")
    return Unavailable(f"the database is not available: {error}")


def without_values(error: ServerError) -> str:
    """Return what the server said, and the error's number, without anything that may be a value."""
    message = error.message
    if error.code == 1064:
        message = "there is an error in the SQL syntax"
    elif error.code not in _NAMES_ONLY:
        # Up to the first quote: a value can contain the closing one.
        message = re.split(r"['\"`]", message, maxsplit=1)[0].rstrip(" :(") or "error"
    return f"{message} ({error.code})"

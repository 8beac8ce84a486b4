"""What can go wrong with a database, as one tree.

DatabaseError
├── Unavailable             the database cannot do it now; nothing was written, a retry may succeed
│   ├── TransactionConflict a deadlock, or a lock that was not free in time: the whole transaction can be repeated
│   └── OutcomeUnknown      the connection was lost in a commit; look before you repeat
├── UnusableDatabase        the file or the schema cannot be used by this version; starting again won't help
│   └── NewerSchema         the database was made by a newer version
├── MigrationFailed         a migration did not go through; names it and its statement
├── IntegrityError          a constraint of the schema was violated
│   ├── UniqueViolation     a key or a unique column has that value already
│   └── ForeignKeyViolation the row that is referred to does not exist, or is still referred to
├── ValidationError         a value does not fit its column; names table, column and reason
├── QueryError              the query cannot be written or run like this: a programming error
├── NotStored               the object has no row (yet, or any more)
├── StaleObject             somebody else has changed the row since the object was read
├── NotLoaded               a related object was asked for that was not loaded
├── NoResult                exactly one row was expected and there was none
└── SeveralResults          exactly one row was expected and there were more
"""

from __future__ import annotations


class DatabaseError(Exception):
    """Root of everything that DbObject raises on purpose.

    Attributes:
        retryable: whether the same may succeed a moment later, without a look at what happened.
    """

    retryable = False


class Unavailable(DatabaseError):
    """The database cannot do it now: busy, full, away. Nothing was written; a retry may succeed."""

    retryable = True


class TransactionConflict(Unavailable):
    """A deadlock, or a lock that was not free in time. The transaction was rolled back; all of it can be repeated."""


class OutcomeUnknown(Unavailable):
    """The connection was lost while a commit was under way: it may or may not have happened."""

    retryable = False


class UnusableDatabase(DatabaseError):
    """The database cannot be used by this version, and starting again will not help."""


class NewerSchema(UnusableDatabase):
    """The database was migrated by a newer version of the program."""


class MigrationFailed(DatabaseError):
    """A migration did not go through; the text names it and its statement, and says what of it stays, if anything."""


class IntegrityError(DatabaseError):
    """A constraint of the schema was violated; nothing was written."""


class UniqueViolation(IntegrityError):
    """A key or a unique column has that value already."""


class ForeignKeyViolation(IntegrityError):
    """The row that is referred to does not exist, or a row to be deleted is still referred to."""


class ValidationError(DatabaseError):
    """A value does not fit its column.

    Args:
        table: the table's name.
        column: the column's name.
        reason: what is wrong with the value, without the value.
    """

    def __init__(self, table: str, column: str, reason: str) -> None:
        super().__init__(f"{table}.{column}: {reason}")
        self.table = table
        self.column = column
        self.reason = reason


class QueryError(DatabaseError):
    """The query cannot be written or run like this; the program has to change."""


class NotStored(DatabaseError):
    """The object has no row: it was not inserted, or it was deleted."""


class StaleObject(DatabaseError):
    """Somebody else has changed the row since the object was read: refresh it, and decide again."""


class NotLoaded(DatabaseError):
    """A related object was asked for without waiting, and it was not loaded: use `with_`, or `await get(db)`."""


class NoResult(DatabaseError):
    """Exactly one row was expected and there was none."""


class SeveralResults(DatabaseError):
    """Exactly one row was expected and there were more."""

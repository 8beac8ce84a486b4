"""DbObject: tables are classes, rows are objects, predicates are Python, and values never stand in the SQL text.

It imports nothing else of the project.
"""

from server.db.columns import BigInteger, Boolean, Bytes, Column, Float, ForeignKey, Integer, Json, Text, Timestamp, now
from server.db.database import Database, Transaction
from server.db.errors import (
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    MigrationFailed,
    NewerSchema,
    NoResult,
    NotStored,
    OutcomeUnknown,
    QueryError,
    SeveralResults,
    Unavailable,
    UniqueViolation,
    UnusableDatabase,
    ValidationError,
)
from server.db.expressions import (
    Expression,
    Predicate,
    coalesce,
    count,
    length,
    lower,
    maximum,
    minimum,
    total,
)
from server.db.migrations import AddColumn, CreateIndex, CreateTable, RunSql
from server.db.objects import DbObject
from server.db.queries import Executor, Query, Statement
from server.db.schema import Index, index, unique
from server.db.select import Select

__all__ = [
    "AddColumn",
    "BigInteger",
    "Boolean",
    "Bytes",
    "Column",
    "CreateIndex",
    "CreateTable",
    "Database",
    "DatabaseError",
    "DbObject",
    "Executor",
    "Expression",
    "Float",
    "ForeignKey",
    "ForeignKeyViolation",
    "Index",
    "Integer",
    "IntegrityError",
    "Json",
    "MigrationFailed",
    "NewerSchema",
    "NoResult",
    "NotStored",
    "OutcomeUnknown",
    "Predicate",
    "Query",
    "QueryError",
    "RunSql",
    "Select",
    "SeveralResults",
    "Statement",
    "Text",
    "Timestamp",
    "Transaction",
    "Unavailable",
    "UniqueViolation",
    "UnusableDatabase",
    "ValidationError",
    "coalesce",
    "count",
    "index",
    "length",
    "lower",
    "maximum",
    "minimum",
    "now",
    "total",
    "unique",
]

"""Users and sessions."""

from server.db import Bytes, CreateTable, DbObject, ForeignKey, Integer, Text, Timestamp


class User(DbObject):
    """What sessions refer to."""

    dbo_tablename = "users"
    id = Integer(primary_key=True)


steps = [
    CreateTable(
        "users",
        {
            "id": Integer(primary_key=True),
            "name": Text(max_length=32),
            "member_key": Text(max_length=128, nullable=True, unique=True),
            "role": Text(max_length=10),
            "password_hash": Text(max_length=200, nullable=True),
            "created_at": Timestamp(),
        },
    ),
    CreateTable(
        "sessions",
        {
            "id": Integer(primary_key=True),
            "user": ForeignKey(User, on_delete="cascade", index=True),
            "token_hash": Bytes(max_length=32, unique=True),
            "created_at": Timestamp(),
            "used_at": Timestamp(index=True),
        },
    ),
]

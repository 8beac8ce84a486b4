"""asyncmy, which Tortoise prefers: aiomysql's interface, written in Cython."""

from __future__ import annotations

from typing import Any

import asyncmy

from bench.orms.aiomysql_bare import Aiomysql


class Asyncmy(Aiomysql):
    """One connection."""

    driver = asyncmy

    async def _new_cursor(self) -> Any:
        return self._connection.cursor()


CONTESTANT = Asyncmy

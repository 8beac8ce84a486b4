"""docs/dbobject.md is a program that runs, on each kind of database."""

from __future__ import annotations

import ast
import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest

from tests.support.mariadb import MariaDb

GUIDE = Path(__file__).parents[3] / "docs" / "dbobject.md"
TEMPORARY = "sqlite://:memory:"


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
async def test_every_block_runs(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The blocks, one after the other, are a program whose assertions hold."""
    text = GUIDE.read_text(encoding="utf-8")
    (migration,) = re.findall(r"```python migration\n(.*?)```", text, re.DOTALL)
    (tmp_path / "0001_initial.py").write_text(migration, encoding="utf-8")
    url = TEMPORARY
    if kind == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        url = server.url(server.new_database())
    blocks = re.findall(rf"```python(?: {kind})?\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    assert any(TEMPORARY in block for block in blocks)
    names: dict[str, Any] = {"migrations": tmp_path}
    try:
        for block in blocks:
            await run(block.replace(TEMPORARY, url), names)
    finally:
        if "db" in names:
            await names["db"].close()


async def run(block: str, names: dict[str, Any]) -> None:
    """Run a block, in which `await` may stand anywhere."""
    code = compile(block, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = types.FunctionType(code, names)()
    if inspect.isawaitable(result):
        await result

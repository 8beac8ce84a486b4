"""docs/dbobject.md is a program that runs."""

from __future__ import annotations

import ast
import inspect
import re
import types
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).parents[3] / "docs" / "dbobject.md"


async def test_every_block_runs(tmp_path: Path) -> None:
    """The blocks, one after the other, are a program whose assertions hold."""
    text = GUIDE.read_text(encoding="utf-8")
    (migration,) = re.findall(r"```python migration\n(.*?)```", text, re.DOTALL)
    (tmp_path / "0001_initial.py").write_text(migration, encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    names: dict[str, Any] = {"migrations": tmp_path}
    for block in blocks:
        code = compile(block, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = types.FunctionType(code, names)()
        if inspect.isawaitable(result):
            await result
    await names["db"].close()

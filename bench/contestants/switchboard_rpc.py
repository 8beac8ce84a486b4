"""Switchboard with a JSON-RPC service: what a call with typed params and a typed result costs."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import Contestant, Load, Role
from bench.contestants import switchboard_raw

SAY = '''
from typing import Annotated

import msgspec

from server import Caller, RpcService, method


class Said(msgspec.Struct):
    """What was said."""

    text: str
    length: int


class Say(RpcService):
    """Repeat what is said."""

    @method
    async def say(
        self,
        caller: Caller,
        text: Annotated[str, msgspec.Meta(max_length=65536)],
        times: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1,
    ) -> Said:
        """Say it `times` times."""
        said = text * times
        return Said(said, len(said))
'''


def command(_role: Role, port: int, folder: Path) -> list[str]:
    """Lay out a folder as an operator would, and serve it."""
    (folder / "services").mkdir()
    (folder / "services" / "say.py").write_text(SAY)
    return switchboard_raw.serve(folder, port, "say")


LOAD = Load(
    path="/bench",
    template='{"jsonrpc":"2.0","id":$I,"method":"say","params":{"text":"$T","times":1}}',
)
CONTESTANT = Contestant(name="Switchboard, typed RPC", command=command, roles=("rpc",), load=lambda _task: LOAD)

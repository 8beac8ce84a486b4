import secrets
from typing import Annotated

import msgspec

from server import Caller, RpcService, method


class Roll(msgspec.Struct):
    faces: list[int]
    total: int


class Dice(RpcService):
    """Roll dice, alone or in front of everybody."""

    @method
    async def roll(
        self,
        caller: Caller,
        sides: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 6,
        count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1,
    ) -> Roll:
        """Roll `count` dice with `sides` sides each."""
        faces = [secrets.randbelow(sides) + 1 for _ in range(count)]
        return Roll(faces, sum(faces))

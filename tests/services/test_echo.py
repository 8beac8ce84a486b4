"""Echo: every message comes back as it was."""

from __future__ import annotations

from server.service.harness import ServiceHarness
from services.echo import Echo


async def test_every_message_comes_back() -> None:
    """Text comes back as text and bytes as bytes, in order, to whoever sent them."""
    async with ServiceHarness(Echo) as echo:
        one, two = await echo.connect(), await echo.connect("ann")
        messages: list[str | bytes] = ["", "a", b"", b"\x00\xff", "ä\N{GRINNING FACE}", "x" * 100_000, b"y" * 70_000]
        for message in messages:
            one.send(message)
            two.send("other")
        assert [await one.receive() for _ in messages] == messages
        assert [await two.receive() for _ in messages] == ["other"] * len(messages)
        await one.leave()
        two.send("still here")
        assert await two.receive() == "still here"
        assert echo.incidents == []

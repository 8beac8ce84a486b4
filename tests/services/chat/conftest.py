"""A chat without limits, and two people who are connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.service.harness import Client, ServiceHarness
from services.chat import Chat, service


@pytest.fixture
async def chat(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceHarness[Chat]]:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.01)  # what happens each second should not make tests wait
    async with ServiceHarness(Chat, {"messages_per_minute": 0}, database=database_url) as harness:
        yield harness


@pytest.fixture
async def ann(chat: ServiceHarness[Chat]) -> Client:
    return await chat.connect("ann")


@pytest.fixture
async def ben(chat: ServiceHarness[Chat]) -> Client:
    return await chat.connect("ben")

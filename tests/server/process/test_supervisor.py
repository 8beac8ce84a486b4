"""What a reload brings to workers, and what it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.config import Settings, decode
from server.process.main import needs_restart
from server.process.supervisor import for_workers


def settings(**tables: Any) -> Settings:
    return decode(tables, Path("/somewhere"))


OLD = settings(services={"chat": {"workers": 2, "word": "a"}, "echo": {}})


def test_options_and_counts_reach_workers() -> None:
    """A service's own keys, the number of its workers, and limits are taken over."""
    new = settings(server={"frame_bytes": 1000}, services={"chat": {"workers": 3, "word": "b"}, "echo": {}})
    taken = for_workers(OLD, new)
    assert taken == new
    assert needs_restart(OLD, new) == ["server.frame_bytes"]  # the main process has such limits too


@pytest.mark.parametrize(
    "chat", [None, {"workers": 0}, {"workers": 2, "path": "/talk"}, {"workers": 0, "word": "b"}], ids=repr
)
def test_what_the_main_process_has_to_know_stays(chat: dict[str, Any] | None) -> None:
    """A service that is gone, has moved, or has no workers any more goes on as it was, and is named."""
    new = settings(services={"echo": {}} | ({"chat": chat} if chat is not None else {}))
    assert for_workers(OLD, new).services == OLD.services
    assert needs_restart(OLD, new) == ["services.chat"]


def test_a_new_service_waits_for_a_restart() -> None:
    """What the main process has not loaded is not there yet."""
    new = settings(services={"chat": {"workers": 2, "word": "a"}, "echo": {}, "dice": {"workers": 1}})
    assert for_workers(OLD, new).services == OLD.services
    assert needs_restart(OLD, new) == ["services.dice"]


def test_all_processes_have_one_database() -> None:
    """Where data is kept, and what carries messages, is the same in all processes until a restart."""
    new = settings(
        server={"data": "elsewhere"},
        database={"url": "mysql://a:b@c/d"},
        broker={"prefix": "other"},
        services={"chat": {"workers": 2, "word": "a"}, "echo": {}},
    )
    assert for_workers(OLD, new) == OLD
    assert needs_restart(OLD, new) == ["server.data", "database.url", "broker.prefix"]

"""`docs/services.md`: every block that names a file is run, as its reader would."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from server import Identity
from server.config import ServiceSettings, Settings, decode
from server.service.discovery import check, find
from server.service.host import State
from tests.server.service.support import Site, ask, hear, serving

GUIDE = Path(__file__).parents[3] / "docs" / "services.md"
BLOCK = re.compile(r"```(?:python|toml)\n# (?P<file>\S+)\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(block["file"], block["text"]) for block in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]
CONFIG = "".join(text for file, text in BLOCKS if file == "config.toml")
SERVICES = sorted(tomllib.loads(CONFIG)["services"])
ANN = Identity(1, "ann", "member")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay out the guide's files as its reader would."""
    for file, text in BLOCKS:
        target = tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(CONFIG if file == "config.toml" else text)
    return tmp_path


def settings(folder: Path) -> Settings:
    document: dict[str, Any] = tomllib.loads((folder / "config.toml").read_text())
    return decode({"server": {"port": 0, "close_seconds": 1}, **document}, folder, check=check)


def test_every_python_block_is_run() -> None:
    """There is no Python on the page that nobody runs, and every service has a table."""
    text = GUIDE.read_text(encoding="utf-8")
    assert len(re.findall("```python", text)) == len([file for file, _ in BLOCKS if file.endswith(".py")])
    written = {Path(file).parts[1].removesuffix(".py") for file, _ in BLOCKS if file.startswith("services/")}
    assert set(SERVICES) | {"megaphone"} == written


async def test_every_service_runs(folder: Path) -> None:
    """All services of the page run together, configured as the page says."""
    async with serving(settings(folder)) as site:
        assert {name: status.state for name, status in site.host.statuses().items()} == dict.fromkeys(
            SERVICES, State.RUNNING
        )
        await _shout(site)
        await _poll(site)
        await _clock(site)


async def _shout(site: Site) -> None:
    async with site.connect("/shout") as client:
        await client.send("hello")
        assert await client.recv() == "HELLO"


async def _poll(site: Site) -> None:
    async with site.connect("/poll", ANN) as client:
        assert (await hear(client))["params"]["service"] == "poll"
        assert (await ask(client, "options.add", ["tea"]))["result"] == ["tea"]
        standing = {"question": "Tea or coffee?", "votes": {"tea": 1}}
        assert (await ask(client, "vote", {"option": "tea"}))["result"] == standing
        assert (await hear(client))["params"] == standing
        assert (await ask(client, "vote", {"option": ""}))["error"]["data"] == {"path": "option"}


async def _clock(site: Site) -> None:
    async with site.connect("/clock") as client:
        first, second = str(await client.recv()), str(await client.recv())
        assert datetime.fromisoformat(first) < datetime.fromisoformat(second)
    (clock,) = [service for path, service in site.host.running() if path == "/clock"]
    transport = httpx.ASGITransport(app=Starlette(routes=list(clock.routes())))
    async with httpx.AsyncClient(transport=transport, base_url="http://clock") as http:
        answer = await http.get("/now")
    assert answer.status_code == 200
    assert datetime.fromisoformat(answer.text).tzinfo is not None


async def test_the_megaphone_works(folder: Path) -> None:
    """The topic's example does what it says."""
    site_settings = decode({"server": {"port": 0}, "services": {"megaphone": {}}}, folder)
    async with serving(site_settings) as site, site.connect("/megaphone") as one, site.connect("/megaphone") as two:
        await one.send("hello")
        assert [await one.recv(), await two.recv()] == ["hello", "hello"]


@pytest.mark.parametrize("file", [file for file, _ in BLOCKS if file.startswith("tests/")])
async def test_the_tests_of_the_page_pass(folder: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests that the page shows are run, with the services that it shows."""
    name = Path(file).stem
    service = name.removeprefix("test_")
    find(ServiceSettings(service, f"/{service}"), folder)
    monkeypatch.syspath_prepend(folder / "tests")
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    tests = [test for test_name, test in vars(module).items() if test_name.startswith("test_")]
    assert tests
    for test in tests:
        assert inspect.iscoroutinefunction(test)
        await test()


def test_the_entry_point_is_of_the_right_group() -> None:
    """The group that the page names is the one that is looked into."""
    (text,) = [text for file, text in BLOCKS if file == "pyproject.toml"]
    assert msgspec.toml.decode(text)["project"]["entry-points"] == {"switchboard.services": {"notes": "my_notes:Notes"}}

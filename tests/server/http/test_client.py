"""The browser client's files, and nothing but them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from server.http.client import FOLDER, ClientFiles
from tests.server.http.conftest import Site


async def test_the_page_and_its_modules(site: Site) -> None:
    """The page, scripts, styles and the icon have the types that browsers insist on."""
    for path, kind in (
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/main.js", "text/javascript"),
        ("/css/base.css", "text/css"),
        ("/favicon.svg", "image/svg+xml"),
    ):
        response = await site.http.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["cache-control"] == "no-cache"


async def test_files_are_fresh_and_cheap(site: Site) -> None:
    """A file that did not change is 304; HEAD tells about it without it."""
    response = await site.http.get("/main.js")
    again = await site.http.get("/main.js", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await site.http.head("/main.js")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/..%2fpyproject.toml", "/%2e%2e/pyproject.toml", "/css/../../../pyproject.toml",
        "/%2e%2e%2f%2e%2e%2fpyproject.toml", "/main.js%00", "/%00", "/.git/config", "/css", "/css/", "/nowhere.js",
        "//etc/passwd", "/%5c..%5cpyproject.toml", "/" + "x" * 3000,
    ],
)  # fmt: skip
async def test_nothing_else_is_served(site: Site, path: str) -> None:
    """FAULTS 31: no way leads out of the folder, and folders are not listed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith(("HTTP/1.1 404 ", "HTTP/1.1 400 ")), answer[:100]
    assert "[build-system]" not in answer


async def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link to a file elsewhere is not there."""
    folder = tmp_path / "web"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "index.html").write_text("page")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    application = Starlette(routes=[Mount("/", app=ClientFiles(folder))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as http:
        assert (await http.get("/")).text == "page"
        assert (await http.get("/link.txt")).status_code == 404


def test_the_folder_is_the_packages() -> None:
    """The files come with the package, wherever it is installed."""
    assert (FOLDER / "index.html").is_file()

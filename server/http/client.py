"""The browser client's files."""

from __future__ import annotations

import mimetypes
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import client

FOLDER = Path(client.__file__).parent / "web"

# What the system's table of types says differs from machine to machine; modules need the right one.
for _ending, _type in {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
                       ".webmanifest": "application/manifest+json"}.items():  # fmt: skip
    mimetypes.add_type(_type, _ending)


class ClientFiles(StaticFiles):
    """Serves a folder: fresh files at once (ETag), nothing from outside the folder, no listing."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, html=True, follow_symlink=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        # A name that no file can have is a file that is not there.
        if "\0" in path or any(part.startswith(".") and part not in (".", "..") for part in path.split("/")):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        try:
            response = await super().get_response(path, scope)
        except (ValueError, OSError):
            raise HTTPException(HTTPStatus.NOT_FOUND) from None
        response.headers["Cache-Control"] = "no-cache"
        return response

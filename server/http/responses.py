"""What requests are read with and answered with: msgspec Structs as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

S = TypeVar("S", bound=msgspec.Struct)


class Problem(Exception):
    """An answer that is not the one asked for.

    Args:
        status: the HTTP status.
        message: for the person at the other end: what happened and what to do next.
        field: the field of the request that is to blame.
        headers: further headers.
    """

    def __init__(
        self, status: HTTPStatus, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.headers = headers


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong."""

    code: str
    message: str
    field: str | None = None
    incident: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The JSON of every error."""

    error: ProblemBody


def json_response(status: HTTPStatus, body: Any, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON that nobody keeps."""
    return Response(
        msgspec.json.encode(body),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def problem_response(problem: Problem) -> Response:
    """Answer with what is wrong."""
    body = ErrorBody(ProblemBody(problem.status.name.lower(), problem.message, problem.field))
    return json_response(problem.status, body, problem.headers)


async def read_json(request: Request, struct: type[S], most: int) -> S:
    """Read and check the body of a request.

    Args:
        request: the request.
        struct: what the body has to be.
        most: bytes at the most; 0 for any number.

    Raises:
        Problem: 415 when it is not JSON by its type, which pages of other sites cannot send; 413, 400 or 422.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if most and len(body) > most:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body may have {most} bytes.")
    try:
        return msgspec.json.decode(bytes(body), type=struct)
    except msgspec.ValidationError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.", field=_field(str(error))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Problem(HTTPStatus.BAD_REQUEST, "This is not JSON.") from None


def _field(text: str) -> str | None:
    """Return the field in msgspec's text: "... field `name`", or "... - at `$.name`"."""
    named = text.rpartition("`$.")[2] if "`$." in text else text.rpartition("field `")[2]
    return named.partition("`")[0] if named != text else None

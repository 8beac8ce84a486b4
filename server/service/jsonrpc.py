"""JSON-RPC 2.0 messages, one in a text frame."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from server.errors import InvalidParams, InvalidRequest, ParseError, RpcError
from server.net.frames import Frame, encode_text

RequestId = int | float | str | None
NO_PARAMS = Raw(b"{}")


class Request(msgspec.Struct, frozen=True, gc=False):
    """A call; a notification when it has no id."""

    jsonrpc: Literal["2.0"]
    method: str
    params: Raw = NO_PARAMS
    id: RequestId | UnsetType = UNSET


class Success(msgspec.Struct, frozen=True, gc=False):
    """The answer to a call that went well."""

    result: Any
    id: RequestId
    jsonrpc: Literal["2.0"] = "2.0"


class ErrorObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What went wrong."""

    code: int
    message: str
    data: Any = None


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The answer to a call that did not go well."""

    error: ErrorObject
    id: RequestId
    jsonrpc: Literal["2.0"] = "2.0"


class Notification(msgspec.Struct, frozen=True, gc=False):
    """What one side tells the other without asking for an answer."""

    method: str
    params: Any
    jsonrpc: Literal["2.0"] = "2.0"


_requests = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<field>.*)`$", re.DOTALL)


def parse(text: str) -> Request:
    """Read a request.

    Raises:
        ParseError: it is not JSON.
        InvalidRequest: it is JSON, but no request; a batch is none either.
    """
    try:
        return _requests.decode(text)
    except msgspec.ValidationError as error:
        if text.lstrip(" \t\r\n").startswith("["):
            raise InvalidRequest("Batches are not supported: send one request in a message.") from None
        raise InvalidRequest(f"This is not a JSON-RPC 2.0 request: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ParseError("This is not JSON.") from None


def success(request_id: RequestId, result: Any) -> Frame:
    """Encode the answer to a call that went well."""
    return encode_text(_encoder.encode(Success(result, request_id)))


def failure(request_id: RequestId, error: RpcError) -> Frame:
    """Encode the answer to a call that did not."""
    return encode_text(_encoder.encode(Failure(ErrorObject(error.code, error.message, error.data), request_id)))


def notification(method: str, params: msgspec.Struct) -> Frame:
    """Encode a notification, once, for one connection or for a topic's.

    Args:
        method: its name, an event of the service.
        params: a msgspec Struct.
    """
    return encode_text(_encoder.encode(Notification(method, params)))


def invalid_params(error: msgspec.ValidationError) -> InvalidParams:
    """Return the error that names the field, made of msgspec's text, as in "... - at `$.items[2].name`"."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    field = _FIELD.match(what)
    if field:
        path = f"{path}.{field['field']}" if path else field["field"]
    return InvalidParams(f"{what}: {path}" if path and not field else what, path=path)

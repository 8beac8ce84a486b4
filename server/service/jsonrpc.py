"""JSON-RPC 2.0 messages, one in a text frame, without I/O.

msgspec decides what is JSON and what is a request; numbers, nesting and text that it refuses never reach a service.
A key that stands twice in one object is refused too, because two parsers would read two different requests.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from server.errors import InternalError, InvalidParams, InvalidRequest, ParseError, RpcError, TooManyRequests
from server.net.frames import Frame, encode_text

RequestId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | str | None
"""Fractions are not ids (the specification's section 4 advises against them), nor is what no other parser can hold."""

NO_PARAMS = Raw(b"{}")
_OBJECT, _ARRAY = b"{["


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


class _Identified(msgspec.Struct, gc=False):
    """Something that may be no request, but has an id."""

    id: RequestId = None


def parse(text: str) -> Request:
    """Read a request.

    Raises:
        ParseError: it is not JSON.
        InvalidRequest: it is JSON, but no request; a batch is none either.
    """
    try:
        request = _requests.decode(text)
        _check_keys(text, request)
    except msgspec.ValidationError as error:
        _reject(text, f"This is not a JSON-RPC 2.0 request: {error}")
    except RecursionError:
        raise InvalidRequest("This is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError):
        raise ParseError("This is not JSON.") from None
    if bytes(request.params)[0] not in (_OBJECT, _ARRAY):
        raise InvalidRequest("`params` is an object or an array.")
    return request


def identify(text: str) -> RequestId:
    """Return the id of what is no proper request, or None when it cannot be told."""
    try:
        return _identified.decode(text).id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def success(request_id: RequestId, result: Any) -> Frame:
    """Encode the answer to a call that went well.

    Raises:
        TypeError, ValueError, OverflowError: the result cannot be written as JSON.
    """
    return encode_text(_encoder.encode(Success(result, request_id)))


def failure(request_id: RequestId, error: RpcError) -> Frame:
    """Encode the answer to a call that did not go well."""
    return encode_text(_encoder.encode(Failure(ErrorObject(error.code, error.message, error.data), request_id)))


def notification(method: str, params: msgspec.Struct) -> Frame:
    """Encode a notification once, for one connection or for all subscribers of a topic.

    Args:
        method: its name, an event of the service.
        params: a msgspec Struct.
    """
    return encode_text(_encoder.encode(Notification(method, params)))


def rpc_error(code: int, message: str, data: dict[str, Any] | None) -> RpcError:
    """Make the error again that an answer was made of."""
    details = data or {}
    match code:
        case InvalidParams.code:
            return InvalidParams(message, path=details.get("path", ""))
        case TooManyRequests.code:
            return TooManyRequests(message, retry_after=details.get("retry_after", 0.0))
        case InternalError.code:
            return InternalError(details.get("incident", ""))
    error = RpcError(message, data=data)
    # Ours come last, and win where a service uses a code of ours.
    known = {cls.code: cls for cls in reversed(RpcError.__subclasses__())}
    if code in known:
        error.__class__ = known[code]
    else:
        error.code = code  # type: ignore[misc]  # a code of the service's own, of which only this instance knows
    return error


def _reject(text: str, problem: str) -> NoReturn:
    """Tell JSON that is no request from what only begins like JSON."""
    try:
        _json.decode(text)
    except RecursionError:
        raise InvalidRequest("This is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError):
        raise ParseError("This is not JSON.") from None
    if text.lstrip().startswith("["):
        problem = "Batches are not supported: send one request in a message."
    raise InvalidRequest(problem)


def _check_keys(text: str, request: Request) -> None:
    """Refuse a key that stands twice in one object.

    A colon stands behind each key. Where there are no more colons than different keys, no key stands twice, and the
    text need not be gone through once more.
    """
    keys = 2 + (request.params is not NO_PARAMS) + (request.id is not UNSET)
    if bytes(request.params)[0] == _OBJECT:
        keys += len(_members.decode(request.params))
    if text.count(":") != keys:
        _keys.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object with a repeated key."""
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise InvalidRequest("A key stands twice in one object.")


_requests = msgspec.json.Decoder(Request)
_identified = msgspec.json.Decoder(_Identified)
_json = msgspec.json.Decoder(Raw)
_members = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()
# Numbers stay text: nothing is made of them, and making one of 5,000 digits raises.
_keys = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str)

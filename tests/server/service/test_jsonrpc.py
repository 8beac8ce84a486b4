"""JSON-RPC messages against their specification, with texts that nobody would think of."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from server.errors import (
    Conflict,
    InternalError,
    InvalidParams,
    InvalidRequest,
    NotFound,
    ParseError,
    RpcError,
    TooManyRequests,
    Unavailable,
)
from server.net.frames import Frame
from server.service.jsonrpc import failure, identify, notification, parse, rpc_error, success

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
IDS = st.none() | st.integers(-(2**63), 2**63 - 1) | TEXT
PARAMS = st.dictionaries(TEXT, VALUES) | st.lists(VALUES)
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": TEXT}, optional={"params": PARAMS, "id": IDS, "extra": VALUES}
)
LAYOUTS = st.fixed_dictionaries(
    {
        "indent": st.none() | st.integers(0, 2),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (" , ", " : "), (", ", ": ")]),
    }
)


def payload(frame: Frame) -> Any:
    """Decode a text frame."""
    assert frame[0] == 0x81
    start = 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10
    return json.loads(frame[start:])


@given(REQUESTS, LAYOUTS)
def test_every_request_is_read_as_it_was_meant(request: dict[str, Any], layout: dict[str, Any]) -> None:
    """However a request is laid out, method, params and id arrive; unknown members do not matter."""
    read = parse(json.dumps(request, **layout))
    assert read.method == request["method"]
    assert msgspec.json.decode(read.params) == msgspec.json.decode(json.dumps(request.get("params", {})))
    assert read.id == request.get("id", UNSET)


@given(st.text() | st.text('[]{}":,0123456789.eE+-truefalsn \\u\t\n"jsonrpc""2.0""method""id"'))
@example("\ufeff{}")
@example('{"jsonrpc":"2.0","method":"m","params":{"a":"\ud800"}}')
@example('{"jsonrpc":"2.0","method":"m","id":NaN}')
def test_whatever_comes_is_a_request_or_an_error(text: str) -> None:
    """Any text is a request, or one of two errors; what is no JSON is never called JSON."""
    try:
        json.loads(text)
        is_json = True
    except ValueError:
        is_json = False
    try:
        parse(text)
    except ParseError:
        return
    except InvalidRequest:
        pass
    assert is_json


@given(VALUES.filter(lambda value: not isinstance(value, dict) or "method" not in value))
@example([])
@example([{"jsonrpc": "2.0", "method": "m", "id": 1}])
@example({"jsonrpc": "2.0", "result": 1, "id": 1})
def test_json_that_is_no_request(value: Any) -> None:
    """JSON that is no request is -32600, a batch and an answer too."""
    with pytest.raises(InvalidRequest):
        parse(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"1.0","method":"m","id":1}',
        '{"jsonrpc":2.0,"method":"m","id":1}',
        '{"method":"m","id":1}',
        '{"jsonrpc":"2.0","method":1,"id":1}',
        '{"jsonrpc":"2.0","method":null,"id":1}',
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"2.0","method":"m","params":"x","id":1}',
        '{"jsonrpc":"2.0","method":"m","params":1,"id":1}',
        '{"jsonrpc":"2.0","method":"m","params":null,"id":1}',
        '{"jsonrpc":"2.0","method":"m","id":1.5}',
        '{"jsonrpc":"2.0","method":"m","id":true}',
        '{"jsonrpc":"2.0","method":"m","id":[1]}',
        '{"jsonrpc":"2.0","method":"m","id":{}}',
        '{"jsonrpc":"2.0","method":"m","id":9223372036854775808}',
        '{"jsonrpc":"2.0","method":"m","id":1e400}',
        '{"jsonrpc":"2.0","method":"m","id":' + "9" * 5000 + "}",
        '{"jsonrpc":"2.0","method":"m","params":' + "[" * 30000 + "]" * 30000 + "}",
        '{"jsonrpc":"2.0","method":"m","params":' + '{"a":' * 30000 + "1" + "}" * 30000 + "}",
        "[" * 30000 + "]" * 30000,
    ],
)
def test_broken_requests(text: str) -> None:
    """A member of the wrong type, a number out of bounds or endless nesting is -32600."""
    with pytest.raises(InvalidRequest):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[", "[1", '{"jsonrpc":"2.0","method":"m"', '{"jsonrpc":"2.0","method":"m"} x', "nul", "\x00",
     '{"jsonrpc":"2.0","method":"m","params":{"a":tru}}', '{"jsonrpc":"2.0","method":"m","params":{"a":"\\q"}}',
     '{"jsonrpc":"2.0","method":"m","params":{"a":"\x01"}}', '{"jsonrpc":"2.0","method":"m","params":[1,]}',
     '{"jsonrpc":"2.0","method":"m","params":{"a":NaN}}', '{"jsonrpc":"2.0","method":"m","params":{"a":"\\ud800"}}',
     '[1,2', '{"jsonrpc":1,"method":'],
)  # fmt: skip
def test_what_is_no_json(text: str) -> None:
    """Text that is no JSON is -32700, even where its beginning looks like something else."""
    with pytest.raises(ParseError):
        parse(text)


@given(st.data(), REQUESTS)
def test_a_key_that_stands_twice(data: st.DataObject, request: dict[str, Any]) -> None:
    """An object with a repeated key is -32600, at any depth, however the key is written."""
    key, value = data.draw(TEXT), data.draw(VALUES)
    first, second = json.dumps(key), json.dumps(key, ensure_ascii=data.draw(st.booleans()))
    twice = f"{{{first} : {json.dumps(value)}, {second}:{json.dumps(value)}}}"
    where = data.draw(st.sampled_from(["{}", "[{}]", '{{"a":[0,{}]}}', '{{"x:y":{}}}']))
    request["params"] = 12345
    text = json.dumps(request).replace("12345", where.format(twice))
    with pytest.raises(InvalidRequest):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ['{"jsonrpc":"2.0","method":"a","method":"b"}', '{"jsonrpc":"2.0","method":"a","id":1,"\\u0069d":2}',
     '{"jsonrpc":"2.0","method":"a","id" :1,"id"\n:1}', '{"jsonrpc":"2.0","method":"a","params":{},"params":{}}',
     '{"jsonrpc":"2.0","method":"a","x":1,"x":1}'],
)  # fmt: skip
def test_a_member_that_stands_twice(text: str) -> None:
    """The members of the request itself may not be repeated either."""
    with pytest.raises(InvalidRequest):
        parse(text)


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        ('{"jsonrpc":"1.0","method":"m","id":7}', 7),
        ('{"id":"x"}', "x"),
        ('{"id":null}', None),
        ('{"id":1.5}', None),
        ('[{"id":1}]', None),
        ("{", None),
        ("[" * 30000, None),
        ('{"id":"\ud800"}', None),
    ],
)
def test_the_id_of_a_broken_request(text: str, request_id: Any) -> None:
    """A broken request is answered under its id where that can be told, else under null."""
    assert identify(text) == request_id


@given(IDS, VALUES)
def test_answers(request_id: Any, result: Any) -> None:
    """An answer has the result and the very id of the request."""
    assert payload(success(request_id, result)) == {"jsonrpc": "2.0", "result": result, "id": request_id}


def test_an_error_without_data_has_no_data_member() -> None:
    """Data is left out where there is none, and is what the error says where there is."""
    assert payload(failure(None, NotFound("No such room."))) == {
        "jsonrpc": "2.0",
        "error": {"code": -32004, "message": "No such room."},
        "id": None,
    }
    assert payload(failure("a", TooManyRequests("Wait.", retry_after=1.5)))["error"]["data"] == {"retry_after": 1.5}


def test_a_notification_has_no_id() -> None:
    """What the server tells has method and params, and no id."""

    class Greeting(msgspec.Struct):
        text: str

    sent = payload(notification("greeting", Greeting("hi")))
    assert sent == {"jsonrpc": "2.0", "method": "greeting", "params": {"text": "hi"}}


class Odd(RpcError):
    """An error of a service's own."""

    code = -32123


@pytest.mark.parametrize(
    "error",
    [InvalidParams("No.", path="a[0].b"), TooManyRequests("Wait.", retry_after=2), InternalError("abcd1234"),
     Conflict("Twice."), Unavailable(), NotFound("None."), Odd("Odd.", data={"why": [1]})],
)  # fmt: skip
def test_an_error_survives_the_wire(error: RpcError) -> None:
    """What was raised at one end is raised at the other: class, code, text and data."""
    told = payload(failure(1, error))["error"]
    again = rpc_error(told["code"], told["message"], told.get("data"))
    assert (again.code, again.message, again.data) == (error.code, error.message, error.data)
    assert type(again) is type(error)
    assert vars(again) == vars(error)

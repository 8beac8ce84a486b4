"""The OpenRPC document: generated from signatures and docstrings, and right."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import msgspec

from server import Caller, RpcService, method
from server.service.harness import ServiceHarness
from server.version import __version__
from services.dice import Dice


class Colour(msgspec.Struct):
    """A colour of the palette."""

    name: str
    hue: Annotated[int, msgspec.Meta(ge=0, lt=360)] = 0


class Mixed(msgspec.Struct):
    """Two colours were mixed.

    Everybody sees it.
    """

    colour: Colour


class Palette(RpcService):
    """Mix colours.

    As often as you like.
    """

    events: ClassVar[dict[str, type[msgspec.Struct]]] = {"mixed": Mixed}

    @method(name="colours.mix")
    async def mix(self, caller: Caller, first: Colour, others: list[Colour], note: str | None = None) -> Colour:
        """Mix colours into one.

        The order does not matter.
        """
        return first

    @method
    async def clear(self, caller: Caller) -> None:
        """Forget all colours."""

    @method
    async def odd(self, caller: Caller) -> object:
        return None

    @method
    async def unannotated(self, caller: Caller):  # type: ignore[no-untyped-def]  # that is what is tested
        return None


async def document(service: type[RpcService]) -> Any:
    """Return a service's document as a client gets it."""
    async with ServiceHarness(service) as harness:
        return json.loads(msgspec.json.encode(harness.service.document()))


async def test_the_whole_document() -> None:
    """Name, version, docstrings, params with schema and default, results, events, shared schemas."""
    described = await document(Palette)
    colour = {"$ref": "#/components/schemas/Colour"}
    assert described["openrpc"].startswith("1.3.")
    assert described["info"] == {
        "title": "palette",
        "version": __version__,
        "description": "Mix colours.\n\nAs often as you like.",
    }
    methods = {entry["name"]: entry for entry in described["methods"]}
    assert list(methods) == sorted(["clear", "colours.mix", "odd", "rpc.discover", "unannotated"])
    assert methods["colours.mix"] == {
        "name": "colours.mix",
        "summary": "Mix colours into one.",
        "description": "Mix colours into one.\n\nThe order does not matter.",
        "paramStructure": "either",
        "params": [
            {"name": "first", "required": True, "schema": colour},
            {"name": "others", "required": True, "schema": {"type": "array", "items": colour}},
            {
                "name": "note",
                "required": False,
                "schema": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
        ],
        "result": {"name": "result", "schema": colour},
    }
    assert methods["clear"]["result"] == {"name": "result", "schema": {"type": "null"}}
    assert methods["unannotated"]["result"] == {"name": "result", "schema": {}}
    schemas = described["components"]["schemas"]
    assert schemas["Colour"]["description"] == "A colour of the palette."
    assert schemas["Colour"]["required"] == ["name"]
    assert schemas["Colour"]["properties"]["hue"] == {
        "type": "integer", "minimum": 0, "exclusiveMaximum": 360, "default": 0,
    }  # fmt: skip
    events = {event["name"]: event for event in described["x-notifications"]}
    assert events["mixed"] == {
        "name": "mixed",
        "summary": "Two colours were mixed.",
        "params": {"$ref": "#/components/schemas/Mixed"},
    }
    assert "welcome" in events


async def test_every_reference_leads_somewhere() -> None:
    """Whatever a schema refers to is there."""
    for service in (Palette, Dice):
        described = await document(service)
        text = json.dumps(described)
        names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert names <= set(described["components"]["schemas"])


async def test_what_the_document_says_is_what_is_checked() -> None:
    """The bounds in the document are those that the method enforces."""
    (roll,) = [entry for entry in (await document(Dice))["methods"] if entry["name"] == "roll"]
    sides = next(param for param in roll["params"] if param["name"] == "sides")
    assert sides["schema"] == {"type": "integer", "minimum": 2, "maximum": 1000, "default": 6}
    assert sides["required"] is False

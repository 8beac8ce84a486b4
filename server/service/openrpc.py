"""The OpenRPC document of a service (OpenRPC 1.3), made of signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import NODEFAULT

from server.service.methods import Method
from server.version import __version__

OPENRPC = "1.3.2"
_REFERENCES = "#/components/schemas/{name}"


def describe(
    service: type, name: str, methods: Sequence[Method], events: Mapping[str, type[msgspec.Struct]]
) -> dict[str, Any]:
    """Return the document as JSON-ready values.

    Args:
        service: the class; its docstring is the description.
        name: the service's name.
        methods: its methods.
        events: the notifications that it sends, by name, with the Structs of their params.
    """
    types = [item for method in methods for item in (*(kind for _, kind, _ in method.fields), method.result)]
    schemas, components = msgspec.json.schema_components(
        [*types, *events.values()], ref_template=_REFERENCES, schema_hook=_anything
    )
    remaining = iter(schemas)
    described = [_method(method, remaining) for method in methods]
    notifications = [
        {"name": event, "summary": _summary(inspect.getdoc(struct)), "params": schema}
        for (event, struct), schema in zip(events.items(), remaining, strict=True)
    ]
    return {
        "openrpc": OPENRPC,
        "info": {"title": name, "version": __version__, "description": inspect.getdoc(service) or ""},
        "methods": sorted(described, key=lambda method: str(method["name"])),
        "components": {"schemas": components},
        # OpenRPC describes what clients call; what the server sends stands in an extension.
        "x-notifications": notifications,
    }


def _method(method: Method, schemas: Any) -> dict[str, Any]:
    params = []
    for name, _, default in method.fields:
        schema = next(schemas)
        if default is not NODEFAULT:
            schema = {**schema, "default": msgspec.to_builtins(default)}
        params.append({"name": name, "required": default is NODEFAULT, "schema": schema})
    return {
        "name": method.name,
        "summary": _summary(method.doc),
        "description": method.doc,
        "paramStructure": "either",
        "params": params,
        "result": {"name": "result", "schema": next(schemas)},
    }


def _summary(doc: str | None) -> str:
    return (doc or "").partition("\n")[0]


def _anything(kind: type) -> dict[str, Any]:
    """Describe a type that msgspec has no schema for: it has a name, and may be anything."""
    return {"title": kind.__name__}

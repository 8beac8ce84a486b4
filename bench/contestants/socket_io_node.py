"""socket.io on Node, over WebSocket only."""

from __future__ import annotations

from bench.node import SOCKET_IO, NodeContestant, node_server

CONTESTANT = NodeContestant(
    name="socket.io (Node)",
    command=node_server("socket.io"),
    load=lambda _task: SOCKET_IO,
    npm_packages=("socket.io", "engine.io"),
)

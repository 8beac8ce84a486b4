"""ws, the usual WebSocket server of Node."""

from __future__ import annotations

from bench.node import NodeContestant, node_server

CONTESTANT = NodeContestant(name="ws (Node)", command=node_server("ws"), npm_packages=("ws",))

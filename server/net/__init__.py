"""Sockets and RFC 6455: listening, handshakes, one client's connection, limits, heartbeat. Knows no service."""

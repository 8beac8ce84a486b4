"""Processes of their own for services: spawned, watched, replaced, and given the sockets of their clients."""

"""Rooms where people talk, and a history that forgets nothing."""

from services.chat.service import Chat

__all__ = ["Chat"]

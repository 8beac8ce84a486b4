"""Accounts: users, sessions, passwords. Stands on `server.db`."""

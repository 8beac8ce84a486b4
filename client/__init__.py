"""Clients of Switchboard: the browser client in `web/`; the Python client comes later."""

"""The HTTP side: the browser client's files, accounts, health, metrics, and the services' own routes."""

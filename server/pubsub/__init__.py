"""Topics, presence and the brokers behind them. Nothing here knows a socket or a service."""

from server import Connection, Service


class Echo(Service):
    """Send every message back."""

    async def serve(self, connection: Connection) -> None:
        async for message in connection:
            await connection.send(message)

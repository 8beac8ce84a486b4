"""Several nodes that start at the same time on an empty database."""

from __future__ import annotations

from pathlib import Path

from tests.support.chatclient import ChatClient
from tests.support.cluster import Cluster
from tests.support.mariadb import MariaDb
from tests.support.nats import private_nats


async def test_nodes_that_start_together_migrate_once(mariadb: MariaDb, tmp_path: Path) -> None:
    """Six processes open the database together: each migration runs once, there is one lobby, and nobody complains."""
    database = mariadb.new_database()
    with private_nats() as nats:
        async with Cluster(tmp_path, mariadb.url(database), nats.url) as cluster:
            migrations = mariadb.execute(f"SELECT * FROM {database}.db_migrations").splitlines()
            assert len({line.rpartition("\t")[0] for line in migrations}) == len(migrations) > 1
            for node in cluster.nodes:
                client = await ChatClient.guest(node.url, "guest")
                assert [room["room"] for room in (await client.call("rooms.list"))["rooms"]] == ["lobby"]
                await client.close()
                said = node.log
                assert " warning " not in said, said
                assert " error " not in said, said
    mariadb.execute(f"DROP DATABASE {database}")

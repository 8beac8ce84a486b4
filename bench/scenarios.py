"""The scenarios: what is measured, who takes part, and what Switchboard is to reach."""

from __future__ import annotations

from bench.contestant import YARDSTICK
from bench.methods.coming import Churn, Connects, Memory, Resume, Start
from bench.methods.fairness import Flood, Slow
from bench.methods.growth import Rooms, Subscribers
from bench.methods.processes import Compute, HandOffs, MainAtRest, Workers
from bench.methods.traffic import Traffic
from bench.scenario import Goal, Scenario, at_least, at_most

RAW, CHAT, RPC, COOKIE = "switchboard_raw", "switchboard_chat", "switchboard_rpc", "switchboard_cookie"
MARIADB = "switchboard_chat_mariadb"
PICOWS = "picows_server"
PEERS = (PICOWS, "aiohttp_server", "starlette_server", "socketio_python", "ws_node", "socket_io_node")
MEGABYTE = 1e6
OUTGOING_BYTES = 1 << 20
"""What may wait for a client, as Switchboard comes."""
LATENCY_SECONDS = 2
"""There are few messages in a second at these rates; a percentile needs some."""
PACED_SECONDS = 4
"""A process's clock has ticks of 10 ms."""


def _fanout(title: str, how: Traffic, *goals: Goal, peers: tuple[str, ...] = PEERS) -> Scenario:
    return Scenario(title=title, unit="deliveries/s", role="topic", how=how, goals=goals, peers=peers)


def _latency(rate: int, subscribers: int, *goals: Goal, main: bool = False) -> Scenario:
    return Scenario(
        title=f"latency of {rate:,} deliveries a second to {subscribers:,}, open loop, 99th percentile",
        unit="us",
        role="topic",
        how=Traffic(clients=subscribers, rate=rate / subscribers, seconds=LATENCY_SECONDS),
        goals=goals,
        main=main,
        peers=(PICOWS,),
        less_is_better=True,
    )


def _workers(where: str, traffic: Traffic) -> Scenario:
    """Compare two workers with one under a load that no core is full with: full cores batch, and look cheap."""
    return Scenario(
        title=f"2 workers of the chat to 1, by the busiest process's time: {where}, 40,000 deliveries a second",
        unit="of the capacity",
        role="chat",
        roles={MARIADB: "mariadb"},
        how=Workers(service="chat", loads={1: traffic, 2: traffic}),
        goals=(at_least(CHAT, 1.7, to=""), at_least(MARIADB, 1.7, to="")),
        main=False,
        yardstick=False,
    )


SCENARIOS = {
    "f1": _fanout(
        "fan-out to 1,000, one message outstanding",
        Traffic(clients=1000),
        at_least(RAW, 1.3),
        at_least(CHAT, 1.0),
        at_most(RAW, 0.65, figure="cpu"),
    ),
    "f16": _fanout(
        "fan-out to 1,000, sixteen outstanding",
        Traffic(clients=1000, outstanding=16),
        at_least(RAW, 15),
        at_least(CHAT, 11),
    ),
    "f20": _fanout(
        "fan-out to 1,000, 20 publishers with 4 outstanding each",
        Traffic(clients=1000, publishers=20, outstanding=4),
        at_least(RAW, 60),
        at_least(CHAT, 30),
    ),
    "r20": _fanout(
        "fan-out in a room of 100, 20 publishers with 4 outstanding each",
        Traffic(clients=100, publishers=20, outstanding=4),
        at_least(RAW, 60),
    ),
    "compressed": Scenario(
        title="fan-out to 1,000, sixteen outstanding, compressed",
        unit="deliveries/s",
        role="compressed",
        how=Traffic(clients=1000, outstanding=16, compress=True),
        main=False,
    ),
    "echo": Scenario(
        title="echo, 100 clients with one message outstanding each",
        unit="messages/s",
        role="echo",
        how=Traffic(mode="echo", clients=100),
        goals=(at_least(RAW, 3),),
        peers=PEERS,
    ),
    "rpc": Scenario(
        title="typed calls, 100 clients with one outstanding each; ratio to the yardstick's bare echo",
        unit="calls/s",
        role="rpc",
        roles={YARDSTICK: "echo"},
        how=Traffic(mode="echo", clients=100),
        goals=(at_least(RPC, 1.5),),
    ),
    "commits": Scenario(
        title="messages committed, acknowledged and delivered, 100 senders in 100 rooms, one outstanding each",
        unit="messages/s",
        role="chat",
        how=Traffic(mode="echo", clients=100, rooms=100),
        goals=(at_least(CHAT, 10_000, to=""),),
    ),
    "commits_mariadb": Scenario(
        title="the same on MariaDB, which has the load generator's core",
        unit="messages/s",
        role="mariadb",
        how=Traffic(mode="echo", clients=100, rooms=100),
        goals=(at_least(MARIADB, 4_000, to=""),),
        main=False,
    ),
    "commits4": Scenario(
        title="messages committed, acknowledged and delivered, 100 senders in 100 rooms, four outstanding each",
        unit="messages/s",
        role="chat",
        roles={MARIADB: "mariadb"},
        how=Traffic(mode="echo", clients=100, outstanding=4, rooms=100),
        goals=(at_least(CHAT, 10_000, to=""), at_least(MARIADB, 4_000, to="")),
        main=False,
    ),
    "latency5k": _latency(5_000, 100),
    "latency": _latency(25_000, 1_000, at_most(RAW, 1.0, to=PICOWS), at_most(RAW, 0.65, figure="cpu"), main=True),
    "latency50k": _latency(50_000, 1_000),
    "memory": Scenario(
        title="memory per idle client, of 2,000; a chat's in rooms of 100",
        unit="bytes",
        role="topic",
        how=Memory(clients=2000, rooms=20),
        goals=(at_most(RAW, 0.45), at_most(CHAT, 0.55)),
        rounds=1,
        peers=PEERS,
        less_is_better=True,
    ),
    "resident": Scenario(
        title="all resident memory with 10,000 clients; a chat's are logged in, in rooms of 100",
        unit="bytes",
        role="topic",
        how=Memory(clients=10_000, rooms=100, total=True),
        goals=(at_most(CHAT, 120 * MEGABYTE, to=""),),
        main=False,
        rounds=1,
        less_is_better=True,
    ),
    "connects": Scenario(
        title="2,000 clients connect, 64 at a time; a chat's become members of rooms of 100, which is written",
        unit="connects/s",
        role="topic",
        roles={COOKIE: "cookie"},
        how=Connects(clients=2000, rooms=20),
        goals=(at_least(RAW, 1.4), at_least(COOKIE, 1.4)),
        peers=PEERS,
    ),
    "resume": Scenario(
        title="2,000 clients come back to rooms of 100, each 50 messages behind; the yardstick's only connect",
        unit="clients/s",
        role="chat",
        roles={YARDSTICK: "topic"},
        goals=(at_least(CHAT, 1.0),),
        how=Resume(clients=2_000, rooms=20, behind=50),
    ),
    "resume10k": Scenario(
        title="10,000 clients come back to rooms of 100, each 50 messages behind; the yardstick's only connect",
        unit="clients/s",
        role="chat",
        roles={YARDSTICK: "topic"},
        how=Resume(clients=10_000, rooms=100, behind=50),
        main=False,
        rounds=1,
    ),
    "churn": Scenario(
        title="50 connect, join, leave and close over and over, among 1,000 in rooms of 100",
        unit="joins/s",
        role="chat",
        how=Churn(clients=1000, churners=50, rooms=10, rate=50),
        main=False,
    ),
    "subscribers": Scenario(
        title="growth from 10 to 10,000 subscribers: lowest deliveries/s from 100 on, as a share of those to 100",
        unit="of the rate",
        role="topic",
        how=Subscribers(sizes=(10, 100, 1_000, 10_000), judged_from=100),
        goals=(at_least(RAW, 0.8, to=""),),
        main=False,
    ),
    "rooms": Scenario(
        title="growth from 1 to 10,000 rooms, 100 messages on their way: lowest rate from 100 on, to that with 100",
        unit="of the rate",
        role="chat",
        how=Rooms(sizes=(1, 10, 100, 1_000, 10_000)),
        goals=(at_least(CHAT, 0.8, to=""),),
        main=False,
        rounds=1,
    ),
    "slow": Scenario(
        title="one reader of ten does not read for 4 s: deliveries/s to the others",
        unit="deliveries/s",
        role="topic",
        how=Slow(seconds=4, told=True),
        goals=tuple(
            goal
            for key in (RAW, CHAT)
            for goal in (
                at_most(key, OUTGOING_BYTES + 8 * MEGABYTE, to="", figure="growth"),
                at_least(key, 0.8, to="", figure="kept"),
            )
        ),
        rounds=1,
        yardstick=False,
    ),
    "slow60": Scenario(
        title="one reader of ten does not read for 60 s: deliveries/s to the others",
        unit="deliveries/s",
        role="topic",
        how=Slow(seconds=60, told=False),
        goals=(
            at_most(RAW, OUTGOING_BYTES + 8 * MEGABYTE, to="", figure="growth"),
            at_least(RAW, 0.8, to="", figure="kept"),
        ),
        main=False,
        rounds=1,
    ),
    "fairness": Scenario(
        title="a quiet topic beside a flooded one: latency of the quiet one, 99th percentile",
        unit="us",
        role="fair",
        how=Flood(
            quiet=Traffic(clients=10, rate=100),
            flood=Traffic(clients=1000, publishers=20, outstanding=4),
        ),
        main=False,
        less_is_better=True,
    ),
    "workers": _workers("one room of 1,000", Traffic(clients=1000, publishers=20, rate=40, seconds=PACED_SECONDS)),
    "workers_rooms": _workers(
        "11 rooms of 100", Traffic(clients=1100, publishers=20, rate=400, rooms=11, seconds=PACED_SECONDS)
    ),
    "workers_full": Scenario(
        title="2 workers of the chat with 2,000 in a room, to 1 with 1,000; 20 publishers with 4 outstanding each",
        unit="of the capacity",
        role="chat",
        how=Workers(
            service="chat",
            loads={count: Traffic(clients=1000 * count, publishers=20, outstanding=4) for count in (1, 2)},
        ),
        main=False,
        yardstick=False,
    ),
    "handoff": Scenario(
        title="2,000 clients connect, 64 at a time, and are handed to a worker",
        unit="connects/s",
        role="echo",
        how=HandOffs(service="echo", clients=2000),
        main=False,
        yardstick=False,
    ),
    "main_at_rest": Scenario(
        title="the main process beside 10,000 clients in a worker, in rooms of 100, at 50,000 deliveries a second",
        unit="of a core",
        role="chat",
        how=MainAtRest(
            service="chat", count=1, traffic=Traffic(clients=10_000, publishers=100, rate=500, rooms=100, seconds=5)
        ),
        main=False,
        rounds=1,
        yardstick=False,
        less_is_better=True,
    ),
    "main_relaying": Scenario(
        title="the same with two workers, between which the main process carries each message",
        unit="of a core",
        role="chat",
        how=MainAtRest(
            service="chat", count=2, traffic=Traffic(clients=10_000, publishers=100, rate=500, rooms=100, seconds=5)
        ),
        main=False,
        rounds=1,
        yardstick=False,
        less_is_better=True,
    ),
    "compute": Scenario(
        title="beside a worker that computes for 5 s: 10,000 deliveries a second to 100, 99th percentile",
        unit="us",
        role="compute",
        how=Compute(traffic=Traffic(clients=100, rate=100)),
        main=False,
        yardstick=False,
        less_is_better=True,
    ),
    "start": Scenario(
        title="from starting the process to the first client that is let in",
        unit="s",
        role="topic",
        how=Start(),
        goals=(
            at_most(RAW, 0.5, to=""),
            at_most(CHAT, 0.5, to=""),
            at_most(RAW, 48 * MEGABYTE, to="", figure="resident"),
            at_most(CHAT, 48 * MEGABYTE, to="", figure="resident"),
        ),
        less_is_better=True,
    ),
}

"""Scale on paper: what a number of people needs, from measured costs, and how long they wait.

`python -m bench.scale --clients 1000000 --rooms 10000 --rate 0.01` prints how many processes and machines that takes,
what the database and the broker have to do, and how long a message waits at each of them.

`plan` is the capacity formula: each cost times how often it arises, and as many processes as keep each below its
bound. `simulate` lets messages arrive at random at one worker, at one main process, at the broker and at the database
of such a plan, and counts how long they stand in line. What is not in it: people who all speak at once, rooms of very
different sizes, and what joins cost. It says where the next wall is, not what a bill will be.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence

import msgspec

MESSAGE_US = 70.0
"""A message in its sender's process: read, numbered, committed, answered (`commits`: 71 us, a delivery included)."""
DELIVERY_US = 15.0
"""A message to one more client of 10,000 in a worker, in rooms of 100, at an even 50,000 a second (`main_at_rest`: 14.9
and 15.8 us, the message itself included). Nearly all of it is the kernel's, whose state of so many sockets is in no
cache; of 1,100 clients it is 9 us (`workers_rooms`), of the same thousand over and over 5.3 us (`f1`). Together with
others it is a fortieth of that (`f20`: 0.14 us), so a crowd that talks without a pause costs less than is reckoned."""
HEARD_US = 60.0
"""A message in another process with people of the room: woken up, read, checked, kept, framed. It is what two workers
use in all, less what one does, in rooms of 2 to 100: 44 to 63 us where they are full, as they are planned to be; 100 to
150 us where they have little to do and wake up for each message."""
CARRIED_US = 30.0
"""A message through the main process, to another worker or to NATS (`main_relaying`: 24 to 36 us; busier, 5 to 14)."""
HANDOFF_US = 70.0
"""A client through the main process into a worker (`handoff`: 60 to 65 us)."""
ALIVE_US = 2 * DELIVERY_US
"""A client that is silent, each heartbeat: a ping to it and its pong, each a delivery's worth of the kernel's time."""
HEARTBEAT_SECONDS = 20.0
DATABASE_US = 79.0
"""A message in a MariaDB of one core that commits in groups (`commits4`: 12,700 a second)."""
BROKER_US = 1.4
"""A message out of a NATS server: 700,000 deliveries a second (docs/benchmarks.md, the peers' table)."""
CLIENT_BYTES = 4_300
"""A client, logged in and in a room, in its worker (`memory`, `resident`) and in the main process (140 bytes)."""
WORKER_BYTES, MAIN_BYTES = 40_000_000, 50_000_000
"""Processes without clients, as they start."""
FRAME_BYTES = 350
"""A message of 150 characters as the chat sends it, with TCP and IP."""

FULL = 0.6
"""How busy a process is planned to be: beyond it lines grow quickly, and there is no room for an evening."""
MOST_WORKERS = 15
"""Workers of a machine with 16 cores: one core is the main process's."""
MOST_CLIENTS = 200_000
"""Clients of a machine: after a fall they come back at 6,000 a second (`handoff`), which takes half a minute."""
MOST_CLIENTS_EACH = 50_000
"""Clients of a worker: so many are let go and come back when one is replaced."""


class Load(msgspec.Struct, frozen=True):
    """What people do.

    Args:
        clients: how many there are; each is in one room.
        rooms: all of one size.
        rate: messages of one client in a second.
        connects: clients that come in a second.
    """

    clients: int
    rooms: int
    rate: float
    connects: float = 0.0

    @property
    def members(self) -> float:
        """Clients in a room."""
        return self.clients / self.rooms

    @property
    def messages(self) -> float:
        """Messages in a second."""
        return self.clients * self.rate

    @property
    def deliveries(self) -> float:
        """Deliveries in a second."""
        return self.messages * self.members


class Plan(msgspec.Struct, frozen=True):
    """What a load takes, and how busy each part is then.

    Args:
        load: what people do.
        workers: processes of the chat, all machines together.
        machines: of 16 cores.
        heard: processes with people in a room, for each message.
        databases: servers, or shards, of one core each.
        brokers: NATS servers.
        worker_busy: part of a core.
        main_busy: the same, of a main process.
        database_busy: the same, of a database.
        broker_busy: the same, of a broker.
        memory_bytes: of one machine.
        network_bytes: to clients, of one machine in a second.
    """

    load: Load
    workers: int
    machines: int
    heard: float
    databases: int
    brokers: int
    worker_busy: float
    main_busy: float
    database_busy: float
    broker_busy: float
    memory_bytes: float
    network_bytes: float


def spread(members: float, places: int) -> float:
    """Return how many of so many places have somebody of a room, when members go where there are fewest."""
    return min(members, float(places))


def plan(load: Load) -> Plan:
    """Return the smallest number of everything that keeps each part below `FULL`."""
    workers = math.ceil(load.clients / MOST_CLIENTS_EACH)
    while _worker_busy(load, workers) > FULL:
        workers += 1 + workers // 50
    machines = max(math.ceil(workers / MOST_WORKERS), math.ceil(load.clients / MOST_CLIENTS))
    while _main_busy(load, workers, machines) > FULL:
        machines += 1
    workers = max(workers, machines)
    databases = max(1, math.ceil(load.messages * DATABASE_US / 1e6 / FULL))
    out = load.messages * (spread(load.members, machines) - 1) if machines > 1 else 0.0
    brokers = max(1, math.ceil(out * BROKER_US / 1e6 / FULL)) if machines > 1 else 0
    return Plan(
        load=load,
        workers=workers,
        machines=machines,
        heard=spread(load.members, workers),
        databases=databases,
        brokers=brokers,
        worker_busy=_worker_busy(load, workers),
        main_busy=_main_busy(load, workers, machines),
        database_busy=load.messages * DATABASE_US / 1e6 / databases,
        broker_busy=out * BROKER_US / 1e6 / brokers if brokers else 0.0,
        memory_bytes=MAIN_BYTES + (WORKER_BYTES * workers + CLIENT_BYTES * load.clients) / machines,
        network_bytes=load.deliveries * FRAME_BYTES / machines,
    )


def _worker_busy(load: Load, workers: int) -> float:
    heard = spread(load.members, workers)
    spent = load.messages * (MESSAGE_US + (heard - 1) * HEARD_US) + load.deliveries * DELIVERY_US
    return (spent + load.clients * ALIVE_US / HEARTBEAT_SECONDS) / 1e6 / workers


def _main_busy(load: Load, workers: int, machines: int) -> float:
    """Return what a main process has to do: it carries what its workers say, and what they hear from elsewhere."""
    if workers == 1:
        return load.connects * HANDOFF_US / 1e6
    says = load.messages / machines
    hears = load.messages * spread(load.members, machines) / machines - says
    return ((says + max(0.0, hears)) * CARRIED_US + load.connects / machines * HANDOFF_US) / 1e6


class Waits(msgspec.Struct, frozen=True):
    """How long messages are at a part, waiting and being served, in milliseconds; 0 for a part that is not there."""

    worker: float
    main: float
    database: float
    broker: float


def simulate(planned: Plan, messages: int = 20_000, seed: int = 1) -> Waits:
    """Return the 99th percentile of the time at each part.

    Args:
        planned: what there is.
        messages: how many arrive at each part.
        seed: of the random numbers.
    """
    chance = random.Random(seed)
    load = planned.load
    here = load.members / planned.heard  # clients of a room in a process that has some
    own = load.messages / planned.workers
    heard = load.messages * (planned.heard - 1) / planned.workers

    def at_worker() -> float:
        cost = MESSAGE_US if chance.random() * (own + heard) < own else HEARD_US
        return cost + here * DELIVERY_US

    def part(busy: float, service: Callable[[], float], each_us: float) -> float:
        return _p99(_stays(chance, each_us / busy, service, messages)) / 1000 if busy else 0.0

    mean = (own * MESSAGE_US + heard * HEARD_US) / (own + heard) + here * DELIVERY_US
    return Waits(
        worker=part(planned.worker_busy, at_worker, mean),
        main=part(planned.main_busy, lambda: CARRIED_US, CARRIED_US),
        database=part(planned.database_busy, lambda: DATABASE_US, DATABASE_US),
        broker=part(planned.broker_busy, lambda: BROKER_US, BROKER_US),
    )


def _stays(chance: random.Random, between: float, service: Callable[[], float], messages: int) -> list[float]:
    """Let messages arrive at random, and be served in turn; returns how long each was there (Lindley's recursion)."""
    stays, wait = [], 0.0
    for _ in range(messages):
        served = service()
        stays.append(wait + served)
        wait = max(0.0, wait + served - chance.expovariate(1 / between))
    return stays


def _p99(stays: Sequence[float]) -> float:
    return sorted(stays)[int(len(stays) * 0.99)]


def table(loads: Sequence[Load]) -> str:
    """Return a table in Markdown: a line for each load."""
    head = ("clients", "rooms of", "messages/s", "deliveries/s", "workers", "machines", "memory each",
            "to clients each", "databases", "NATS out/s", "p99 worker, main, database")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for load in loads:
        p = plan(load)
        waits = simulate(p)
        out = load.messages * (spread(load.members, p.machines) - 1) if p.machines > 1 else 0.0
        cells = (
            f"{load.clients:,}",
            f"{load.members:,.0f}",
            f"{load.messages:,.0f}",
            f"{load.deliveries:,.0f}",
            f"{p.workers} ({p.worker_busy:.0%})",
            f"{p.machines} (main {p.main_busy:.0%})",
            f"{p.memory_bytes / 1e6:,.0f} MB",
            f"{p.network_bytes * 8 / 1e6:,.0f} Mbit/s",
            f"{p.databases} ({p.database_busy:.0%})",
            f"{out:,.0f}",
            f"{waits.worker:.1f}, {waits.main:.1f}, {waits.database:.1f} ms",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of one load, or of those in docs/scaling.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Reckon what a number of people needs.")
    parser.add_argument("--clients", type=int, help="how many there are")
    parser.add_argument("--rooms", type=int, default=100, help="rooms, all of one size")
    parser.add_argument("--rate", type=float, default=0.01, help="messages of one client in a second")
    parser.add_argument("--connects", type=float, default=0.0, help="clients that come in a second")
    options = parser.parse_args()
    loads = [Load(options.clients, options.rooms, options.rate, options.connects)] if options.clients else PUBLISHED
    print(table(loads))


PUBLISHED = [
    Load(1_000, 10, 0.01),
    Load(10_000, 100, 0.01),
    Load(10_000, 1, 0.001),
    Load(100_000, 1_000, 0.01),
    Load(100_000, 10_000, 0.01),
    Load(1_000_000, 10_000, 0.01),
    Load(1_000_000, 100_000, 0.01),
    Load(1_000_000, 10_000, 0.001, connects=5_000),
]
"""What docs/scaling.md shows."""

if __name__ == "__main__":
    main()

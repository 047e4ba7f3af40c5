"""The bar to clear: a loop that someone who knows Kafka, Python and this one workload well writes by hand.

librdkafka reads in C threads beside the loop; orjson parses; tiles are cells in dicts; after every 5,000 events the
features of the users that were touched go to Redis in one MSET. It validates nothing and keeps no durable state: when
it dies, it begins again.
"""

from __future__ import annotations

import gc
from typing import Any

from confluent_kafka import Consumer, KafkaException
from orjson import loads
from redis import Redis

from benchmarks.peers.protocol import Job, Run, Timer, main
from benchmarks.peers.tiles import Cell, Tiles, features

_BATCH = 5_000
_WAIT_S = 0.02


def run(job: Job) -> Run:
    """Read the topic.

    Args:
        job: What to do.
    """
    # Its objects hold no cycles, and walking a hundred thousand users' dicts again and again finds nothing.
    gc.disable()
    store = Redis(unix_socket_path=job.redis)
    consumer = Consumer(
        {
            "bootstrap.servers": job.broker,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6_000,
            "fetch.queue.backoff.ms": 5,  # the default of a second makes librdkafka pause whenever its queue was full
        }
    )
    consumer.subscribe([job.topic])
    timer = Timer()
    users: dict[str, Tiles] = {}
    seen = newest = 0
    while seen < job.events:
        messages: list[Any] = consumer.consume(_BATCH, timeout=_WAIT_S)
        if not messages:
            continue
        timer.begin()
        seen += len(messages)
        touched: dict[str, Tiles] = {}
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            event = loads(message.value())
            user, ts, amount = event["user_id"], event["ts"], event["amount"]
            if ts > newest:
                newest = ts
            tiles = users.get(user)
            if tiles is None:
                tiles = users[user] = ({}, {})
            touched[user] = tiles
            # What `tiles.add` does, without its calls and loop.
            minutes, quarters = tiles
            cell: Cell | None = minutes.get(ts // 60_000)
            if cell is None:
                minutes[ts // 60_000] = [1, amount, amount, amount]
            else:
                cell[0] += 1
                cell[1] += amount
                if amount < cell[2]:
                    cell[2] = amount
                elif amount > cell[3]:
                    cell[3] = amount
            cell = quarters.get(ts // 900_000)
            if cell is None:
                quarters[ts // 900_000] = [1, amount, amount, amount]
            else:
                cell[0] += 1
                cell[1] += amount
                if amount < cell[2]:
                    cell[2] = amount
                elif amount > cell[3]:
                    cell[3] = amount
        store.mset({user: features(tiles, newest) for user, tiles in touched.items()})
        timer.stop()
    consumer.close()
    return Run(seen, timer.seconds)


if __name__ == "__main__":
    main(run)

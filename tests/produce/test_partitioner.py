from __future__ import annotations

import random

import pytest

from headrace.kafka.clients import murmur2
from headrace.produce.partitioner import partition_of, partitions_of


@pytest.mark.parametrize("partitions", [1, 3, 12])
def test_many_keys_go_where_each_goes_alone(partitions: int) -> None:
    dice = random.Random(partitions)  # noqa: S311
    keys = [dice.randbytes(dice.randrange(24)) for _ in range(2_000)]
    keys += [b"", b"\xff" * 7, b"\x00" * 4, *keys[:50]]
    wanted = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
    assert partitions_of(keys, partitions) == wanted
    assert partitions_of(keys, partitions) == wanted
    assert [partition_of(key, partitions) for key in keys] == wanted
    assert partitions_of([], partitions) == []


def test_keys_that_are_known_alone_and_together_agree() -> None:
    assert partition_of(b"sensor-1", 7) == partitions_of([b"sensor-1", b"sensor-2"], 7)[0]
    assert partition_of(b"sensor-2", 7) == partitions_of([b"sensor-2"], 7)[0]

"""Which partition a key goes to: Kafka's own rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace.kafka.clients import murmur2

__all__ = ["partition_of", "partitions_of"]

_POSITIVE = 0x7FFF_FFFF
_SEED, _MIX = 0x9747_B28C, 0x5BD1_E995
_KEPT = 262_144

_known: dict[int, dict[bytes, int]] = {}


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's clients choose for a key.

    Args:
        key: The key.
        partitions: How many partitions the topic has.
    """
    known = _room(partitions)
    found = known.get(key)
    if found is None:
        found = known[key] = int((murmur2(key) & _POSITIVE) % partitions)
    return found


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The partitions that Kafka's clients choose for keys.

    Args:
        keys: The keys.
        partitions: How many partitions the topic has.
    """
    known = _room(partitions)
    found = [known.get(key) for key in keys]
    if None in found:
        missing = {key for key, place in zip(keys, found, strict=True) if place is None}
        for alike in _by_length(missing):
            hashes = _murmur2(alike)
            known.update(zip(alike, ((hashes & _POSITIVE) % partitions).tolist(), strict=True))
        return [known[key] for key in keys]
    return [place for place in found if place is not None]


def _room(partitions: int) -> dict[bytes, int]:
    known = _known.setdefault(partitions, {})
    if len(known) > _KEPT:
        known = _known[partitions] = {}
    return known


def _by_length(keys: set[bytes]) -> list[list[bytes]]:
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        groups.setdefault(len(key), []).append(key)
    return list(groups.values())


def _murmur2(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """MurmurHash2 of keys of one length, as Kafka seeds it; arithmetic is modulo 2³²."""
    length = len(keys[0])
    size = -(-length // 4) * 4
    padded = np.zeros((len(keys), size), np.uint8)
    padded[:, :length] = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
    words = padded.view("<u4").astype(np.uint32)
    mix = np.uint32(_MIX)
    found = np.full(len(keys), _SEED ^ length, np.uint32)
    for place in range(length // 4):
        word = words[:, place] * mix
        word ^= word >> np.uint32(24)
        word *= mix
        found *= mix
        found ^= word
    if length % 4:
        found ^= words[:, -1]  # the bytes past the end are 0
        found *= mix
    found ^= found >> np.uint32(13)
    found *= mix
    found ^= found >> np.uint32(15)
    return found

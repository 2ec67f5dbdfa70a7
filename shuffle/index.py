"""What is known of a shuffle object without reading its data: its writer and its partitions."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Codec", "ObjectIndex", "PartitionEntry", "PartitionRun"]

Codec = Literal["none", "lz4"]
"""How the bytes of a partition are compressed."""


class PartitionEntry(msgspec.Struct, frozen=True, array_like=True):
    """One partition of a shuffle object: its bytes, its rows, the CRC-32 of its bytes.

    ``offset`` counts from the start of the object. A partition that an in-process store holds as
    Arrow data has ``offset`` 0, ``crc`` 0, and as ``length`` its rows' share of the bytes that
    the object's buffers occupy.
    """

    offset: int
    length: int
    rows: int
    crc: int


class ObjectIndex(msgspec.Struct, frozen=True):
    """The partitions of one object, and the nonce of the attempt that wrote it.

    Bytes differ between attempts, so offsets mean something only together with their nonce.
    """

    nonce: str
    partitions: tuple[PartitionEntry, ...]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.partitions)

    @property
    def bytes(self) -> int:
        return sum(entry.length for entry in self.partitions)


class PartitionRun(msgspec.Struct, frozen=True):
    """Adjacent partitions of one object, as a consumer is told to read them.

    ``entries`` are those of partitions ``first``, ``first + 1`` … With ``entries`` empty and
    ``last`` set, the consumer reads the object's header first. ``data`` are the bytes of these
    partitions, one after the other, where the producer's report carried them and there is no
    object. With ``copied`` there may be a second object of the same bytes under ``copy_key``.
    """

    key: str
    nonce: str
    first: int
    last: int
    entries: tuple[PartitionEntry, ...] = ()
    data: bytes = b""
    copied: bool = False

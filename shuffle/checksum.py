"""The checksum of shuffle objects: CRC-32 with the polynomial of zlib, gzip and PNG."""

from __future__ import annotations

import zlib

try:
    from isal.isal_zlib import crc32
except ImportError:  # it is an extra, and four times as fast
    crc32 = zlib.crc32

__all__ = ["crc32"]

"""IDX, the format of MNIST's files: two zero bytes, a type, the number of axes, their sizes (big-endian), the
values."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

from variata import DataError

_BYTES = 0x08


def read_idx(path: Path, md5: str | None = None) -> np.ndarray:
    """The array of 8-bit values in an IDX file, plain or gzip.

    Args:
        path: the file.
        md5: of the file when unpacked; None does not check it.

    Raises:
        DataError: the file cannot be read, is cut short, is no IDX file of bytes, or has another checksum.
    """
    content = _unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _BYTES:
        start = content[:4].hex(" ") or "nothing"
        raise DataError(f"{path}: is no IDX file of bytes (it begins with {start}, not 00 00 08)")
    axes = content[3]
    header = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:header]) if len(content) >= header else (0,)
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected or axes == 0:
        raise DataError(f"{path}: is damaged: it has {len(content)} bytes, its header says {expected}; get it again")
    if md5 is not None and (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        remedy = "get it again, or set data.verify=false if it is another data set in the same format"
        raise DataError(f"{path}: has the checksum {found}, not {md5}: {remedy}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error

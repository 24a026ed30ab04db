"""The bytes of a file of lines: decompressed piece by piece, and cut into lines."""

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import zstandard

CHUNK = 2**17
"""Bytes read at a time."""

ZSTD_CHUNK = 2**12
"""Compressed zstd bytes that are read at a time. A block of 128 KiB takes at least 4 bytes, so they
decompress to at most 4096 / 4 · 128 KiB = 128 MiB; for prose to about 16 KiB."""

MOST_BYTES = 2**27
"""Length of the longest document, or line of JSON: 30 times that of the Bible."""


class Damaged(Exception):
    """Compressed data that are damaged or cut off, or too long a line; and what to do about it."""

    def __init__(self, message: str, remedy: str = "get the file again"):
        super().__init__(message)
        self.remedy = remedy


def zstd(file: BinaryIO) -> Iterator[bytes]:
    """Decompress all zstd frames of a file, piece by piece.

    The library's own stream reader does not notice when a file is cut off within a frame; here
    that raises ``Damaged``.
    """
    frame = None
    while data := file.read(ZSTD_CHUNK):
        while data:
            # Files made by ``zstd --long`` need a window of up to 2 GiB. Memory is allocated as the
            # frame's header demands, so other files do not pay for the limit.
            frame = frame or zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise Damaged(f"damaged zstd data ({error})") from None
            data = b""
            if frame.eof:  # the end of this frame; what is left over belongs to the next one
                data, frame = frame.unused_data, None
    if frame:
        raise Damaged("the zstd data is cut off")


def gunzip(file: BinaryIO) -> Iterator[bytes]:
    """Decompress a gzip file, piece by piece. Raises ``Damaged``."""
    try:
        yield from iter(partial(gzip.GzipFile(fileobj=file).read, CHUNK), b"")
    except EOFError:
        raise Damaged("the gzip data is cut off") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise Damaged(f"damaged gzip data ({error})") from None


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split a stream of bytes into lines, without their line ends.

    Raises ``Damaged`` for a line of more than ``MOST_BYTES``: an archive of 100 kB may hold one of
    gigabytes.

    The pieces of a line that spans several chunks are collected and joined once: appending to a
    bytes object for each chunk would take quadratic time for a very long line.
    """
    open_line: list[bytes] = []
    length = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        open_line.append(first)
        length = len(others[-1]) if others else length + len(first)
        if length > MOST_BYTES:
            raise Damaged(f"a line of {too_long()}", "split it")
        for other in others:
            yield b"".join(open_line)
            open_line = [other]
    yield b"".join(open_line)


def too_long(size: int | None = None) -> str:
    found = "more bytes" if size is None else f"{size:,} bytes, more"
    return f"{found} than the {MOST_BYTES:,} that a document may have"

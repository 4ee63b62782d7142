"""Decompression of record batches piece by piece: a mebibyte on the wire may be gigabytes of zeros.

The memory that is needed is a piece and the codec's window, whatever the data claims to be.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

import snappy
import zstandard
from lz4.frame import LZ4FrameDecompressor

PIECE = 1024 * 1024
"""Bytes of a piece at most; those of snappy are as large as its blocks, at most `_SNAPPY_RATIO` times the input."""
_WINDOW = 128 * 1024 * 1024  # of zstd: what its own decoders allow by default; only what is used takes memory
_SNAPPY_RATIO = 22  # its most compact element copies 64 bytes and takes three
_XERIAL = b"\x82SNAPPY\x00"
_ERRORS = (zlib.error, zstandard.ZstdError, snappy.UncompressError, struct.error, RuntimeError, ValueError, EOFError)


class Undecodable(ValueError):
    """The data is not what its codec writes, or the codec is none that Kafka knows."""


def pieces(codec: int, data: bytes) -> Iterator[bytes]:
    """`data` decompressed, in order, none of the pieces empty. `codec`: the low bits of a batch's attributes.

    Data that ends too early ends the iteration early or raises; who reads must know how much there should be. Raises
    `Undecodable`, possibly after some pieces.
    """
    reader = _READERS.get(codec)
    if reader is None:
        raise Undecodable(f"compression codec {codec} is not known")
    try:
        yield from reader(data)
    except _ERRORS as error:
        raise Undecodable(f"{_NAMES[codec]} data cannot be decompressed: {str(error) or 'it is damaged'}") from None


def _plain(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def _gzip(data: bytes) -> Iterator[bytes]:
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            piece = member.decompress(data, PIECE)
            if not piece and not member.eof:
                raise EOFError("it ends too early")
            if piece:
                yield piece
            data = member.unconsumed_tail
        data = member.unused_data


def _lz4(data: bytes) -> Iterator[bytes]:
    frame = LZ4FrameDecompressor()
    while not frame.eof:
        piece = frame.decompress(data, PIECE)
        data = b""
        if piece:
            yield piece
        elif frame.needs_input:
            raise EOFError("it ends too early")


def _zstd(data: bytes) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(PIECE):
            yield piece


def _snappy(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_XERIAL):
        yield from _block(data)
        return
    at = 16  # Java's framing; two numbers of a version follow the mark
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 <= length <= len(data) - at:
            raise ValueError("a block is longer than the rest")
        yield from _block(data[at : at + length])
        at += length


def _block(data: bytes) -> Iterator[bytes]:
    claimed = shift = 0
    for byte in data[:5]:
        claimed |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if claimed > _SNAPPY_RATIO * len(data):
        raise ValueError(f"{len(data)} bytes cannot become {claimed}")
    if block := snappy.uncompress(data):
        yield block


_NAMES = ("plain", "gzip", "snappy", "lz4", "zstd")
_READERS: Mapping[int, Callable[[bytes], Iterator[bytes]]] = dict(enumerate((_plain, _gzip, _snappy, _lz4, _zstd)))

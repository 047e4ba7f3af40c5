"""The bytes of a CSV file as UTF-8, for every compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

__all__ = ["COMPRESSED", "CsvError", "utf8_chunks"]

_CHUNK = 4 << 20
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

COMPRESSED: dict[str, Callable[[str], Any]] = {
    ".gz": gzip.open,
    ".zst": lambda path: pa.input_stream(path, compression="zstd"),
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""By the ending of a file's name, the function that opens a compressed file."""


class CsvError(ValueError):
    """A CSV file that cannot be read at all.

    Args:
        what: What is wrong, and where.
        hint: What to do about it.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def utf8_chunks(path: str, encoding: str) -> Iterator[bytes]:
    """A file's text as UTF-8, in chunks, without a byte order mark.

    Args:
        path: The file.
        encoding: Its encoding. UTF-8 is not checked here, so that one bad value makes one bad row and not a bad file.

    Raises:
        CsvError: The file cannot be read, or has bytes that are not valid in the encoding.
    """
    try:
        declared = codecs.lookup(encoding).name
        # Some codecs ("rot13", "base64") are for other things than text.
        codecs.getincrementaldecoder(declared)().decode(b"")
    except (LookupError, AttributeError, TypeError):
        msg = f"There is no encoding {encoding!r}."
        raise CsvError(msg, "Name one of Python's: utf-8, latin-1, cp1252, utf-16 …") from None
    try:
        yield from _decoded(path, _raw(path), declared)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{path} cannot be read: {reason}"
        raise CsvError(msg, "Check that the file is complete, and that its name has the right ending.") from error


def _raw(path: str) -> Iterator[bytes]:
    opener = next((made for ending, made in COMPRESSED.items() if path.lower().endswith(ending)), None)
    with open(path, "rb") if opener is None else opener(path) as file:  # noqa: PTH123 the path can be anything
        while chunk := file.read(_CHUNK):
            yield bytes(chunk)


def _decoded(path: str, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    first = next(chunks, b"")
    found = next((name for mark, name in _BOMS.items() if first.startswith(mark)), None)
    if encoding == "utf-8" and found != "utf-16":
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(found if encoding == "utf-8" and found is not None else encoding)("strict")
    at, is_first = 0, True
    try:
        for chunk in _with_first(first, chunks):
            text = decoder.decode(chunk)
            yield (text.removeprefix("\ufeff") if is_first else text).encode("utf-8", "surrogatepass")
            is_first = is_first and not text
            at += len(chunk)
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        msg = f"{path} is not encoded in {encoding}: {error.reason} near byte {at + error.start:,}."
        raise CsvError(msg, "Say what it is encoded in: --encoding cp1252, for example.") from error


def _with_first(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks

"""What lies inside of bytes: members of archives, compressed streams and frames, base64."""

import base64
import binascii
import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

_ZSTD = bytes((0x28, 0xB5, 0x2F, 0xFD))
_DEEPEST = 6
_LARGEST_FRAME = 1 << 26
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")
_PDF = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
_TROUBLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
_TROUBLE += (NotImplementedError, RuntimeError, KeyError)


def inside(name: str, data: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """The bytes themselves, and everything that can be unpacked from them, by name.

    Opened are zip (and so npz), tar, gzip, bzip2, xz, frames of zstandard wherever they begin (Orbax's chunks and
    nodes), streams of PDF, and base64. What only looks like one of them, or is damaged, is passed over.
    """
    yield name, data
    if depth >= _DEEPEST:
        return
    for member, content in _members(data):
        yield from inside(f"{name}!{member}", content, depth + 1)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:2] == b"PK":
        yield from _zip(data)
    elif data[257:262] == b"ustar":
        yield from _tar(data)
    for start, kind, opened in ((b"\x1f\x8b", "gzip", gzip.decompress), (b"BZh", "bz2", bz2.decompress),
                                (b"\xfd7zXZ", "xz", lzma.decompress)):  # fmt: skip
        if data.startswith(start):
            try:
                yield kind, opened(data)
            except _TROUBLE:
                continue
    if data.startswith(b"%PDF"):
        for number, match in enumerate(_PDF.finditer(data)):
            try:
                yield f"stream{number}", zlib.decompress(match[1])
            except zlib.error:
                continue
    at = data.find(_ZSTD)
    while at >= 0:
        content = _frame(data, at)
        if content is not None:
            yield f"zstd@{at}", content
        at = data.find(_ZSTD, at + 1)
    for match in _BASE64.finditer(data):
        try:
            yield f"base64@{match.start()}", base64.b64decode(match[0], validate=True)
        except binascii.Error:
            continue


def _zip(data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                try:
                    yield info.filename, archive.read(info)
                except _TROUBLE:
                    continue
    except _TROUBLE:
        return


def _tar(data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for info in archive:
                file = archive.extractfile(info) if info.isfile() else None
                if file is not None:
                    yield info.name, file.read()
    except _TROUBLE:
        return


def _frame(data: bytes, at: int) -> bytes | None:
    """A frame of zstandard, by TensorStore, which Orbax brings: it wants to be told the size.

    Source: RFC 8878, section 3.1.1.
    """
    header = data[at + 4] if len(data) > at + 4 else 0
    size_flag, single, check, dictionary = header >> 6, (header >> 5) & 1, (header >> 2) & 1, header & 3
    if header & 8 or dictionary:
        return None
    place = at + 5 + (0 if single else 1)
    wide = {0: 1 if single else 0, 1: 2, 2: 4, 3: 8}[size_flag]
    size = int.from_bytes(data[place : place + wide], "little") + (256 if wide == 2 else 0) if wide else None
    end = place + wide
    while True:
        if end + 3 > len(data):
            return None
        block = int.from_bytes(data[end : end + 3], "little")
        kind, length = (block >> 1) & 3, block >> 3
        end += 3 + (1 if kind == 1 else length)
        if kind == 3 or end > len(data):
            return None
        if block & 1:
            break
    frame = data[at : end + 4 * check]
    if size is None:
        size = _size(frame)
    return None if size is None or size > _LARGEST_FRAME else _decoded(frame, size)


def _size(frame: bytes) -> int | None:
    """What a frame comes to that does not say so: the complaint about a wrong size tells it."""
    try:
        _decode(frame, _LARGEST_FRAME)
    except ValueError as e:
        told = re.search(r"at uncompressed byte (\d+)", str(e))
        return int(told[1]) if told else None
    return _LARGEST_FRAME


def _decoded(frame: bytes, size: int) -> bytes | None:
    try:
        return _decode(frame, size) if size else b""
    except ValueError:
        return None


def _decode(frame: bytes, size: int) -> bytes:
    import tensorstore as ts  # noqa: PLC0415 - heavy

    shape = {"zarr_format": 2, "shape": [size], "chunks": [size], "dtype": "|u1", "fill_value": None, "filters": None}
    metadata = shape | {"order": "C", "compressor": {"id": "zstd", "level": 1}}
    spec = {"driver": "zarr", "kvstore": {"driver": "memory"}, "metadata": metadata, "create": True}
    store: Any = ts.open(spec).result()
    store.kvstore.write("0", frame).result()
    return store.read().result().tobytes()

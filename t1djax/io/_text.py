"""The text of a file as people have it: in UTF-8 or UTF-16, in a spreadsheet, in Parquet, in an archive."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._checks import Table, split_table
from ._remarks import Note, Step, flaw

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 256 * 2**20
"""Largest file that is read. A year of 1-min rows with every column takes about 80 MB."""
_ZIP, _PARQUET, _OLD_EXCEL = b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0"
_SIGNS = "°µ€²³·\u2013\u2019\u201c\u201d\u201e\u2026"
_TABLES = (".csv", ".txt", ".tsv", ".json")


def read_text(path: Path) -> Step[str | None]:
    """The text of a file, a table of a spreadsheet or of Parquet as CSV; None where there is none to be had."""
    file = str(path)
    try:
        if not path.exists():
            yield flaw(file, "there is no such file", "check the path")
            return None
        if not path.is_file():
            yield flaw(file, "this is not a file", "give a CSV file")
            return None
        if path.stat().st_size > MAX_BYTES:
            yield flaw(file, f"it is larger than {MAX_BYTES // 2**20} MB", "split it by patient or by month")
            return None
        raw = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        yield flaw(file, f"it cannot be opened ({error})", "check the path and its permissions")
        return None
    return (yield from text_of(file, raw))


def text_of(file: str, raw: bytes) -> Step[str | None]:
    """The text of bytes, as `read_text`."""
    if raw.startswith((_ZIP, _OLD_EXCEL)):
        return (yield from _sheet(file, raw))
    if raw.startswith(_PARQUET):
        read = lambda pd: _with_index(pd.read_parquet(io.BytesIO(raw))).to_csv(index=False)
        return (yield from _frame(file, "pyarrow", read))
    codec = _codec(raw)
    line = lambda at: raw.count(b"\n", 0, at) + 1
    if codec == "utf-8-sig" and b"\0" in raw:
        at = raw.index(b"\0")
        yield flaw(file, f"byte {at} is NUL, so it is not a text file", "export it as CSV (UTF-8)", row=line(at))
        return None
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        if codec == "utf-8-sig" and (text := _western(raw)) is not None:
            yield Note("it is not in UTF-8, and is read as Windows-1252, as spreadsheets of Western Europe write it")
            return text
        # The codec counts from behind a byte-order mark.
        at = error.start + (len(raw) - len(error.object))
        what = f"byte {at} (0x{raw[at]:02x}) is not {'UTF-8' if codec == 'utf-8-sig' else 'UTF-16'}"
        yield flaw(file, what, "save it as UTF-8", row=line(at))
        return None
    if text.strip():
        return text
    yield flaw(file, "it is empty", "write a header line and rows", row=1)
    return None


def read_table(path: Path, *, delimiter: str = ",") -> Step[Table | None]:
    """Header and rows of a delimited file; None where it is no such file. Rows of blank cells are skipped."""
    text = yield from read_text(path)
    return None if text is None else (yield from split_table(str(path), text, delimiter=delimiter))


def members(path: Path) -> dict[Path, bytes] | None:
    """The tables in an archive, by the path that each has in it; None where it is no archive of tables."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [i.filename for i in archive.infolist() if not i.is_dir() and i.file_size <= MAX_BYTES]
            there = [n for n in names if n.lower().endswith(_TABLES) and not n.startswith("__MACOSX")]
            return {path / name: archive.read(name) for name in there} or None
    except (zipfile.BadZipFile, OSError):
        return None


def _codec(raw: bytes) -> str:
    """UTF-16 where there is its mark, or where every other byte of the beginning is NUL."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = raw[:2000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) > 3 and odd > 0.4 * len(head) / 2 and even == 0:
        return "utf-16-le"
    return "utf-16-be" if len(head) > 3 and even > 0.4 * len(head) / 2 and odd == 0 else "utf-8-sig"


def _western(raw: bytes) -> str | None:
    """The text in Windows-1252, where all that is not ASCII is a letter or a sign that people write; else None."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return text if all(c.isalpha() or c in _SIGNS for c in set(text) if not c.isascii()) else None


def _sheet(file: str, raw: bytes) -> Step[str | None]:
    """The sheets of a spreadsheet as CSV, one below another."""
    engine = "xlrd"
    if not raw.startswith(_OLD_EXCEL):
        try:
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                if "[Content_Types].xml" not in archive.namelist() and "content.xml" not in archive.namelist():
                    yield flaw(file, "it is an archive", "unpack it, and name the files or their folder")
                    return None
                engine = "odfpy" if "content.xml" in archive.namelist() else "openpyxl"
        except zipfile.BadZipFile:
            yield flaw(file, "it is a spreadsheet or an archive", "export it as CSV (UTF-8)", row=1)
            return None
    sheets = lambda pd: pd.read_excel(io.BytesIO(raw), header=None, sheet_name=None).values()
    read = lambda pd: "\n".join(sheet.to_csv(index=False, header=False) for sheet in sheets(pd) if len(sheet))
    return (yield from _frame(file, engine, read))


def _frame(file: str, engine: str, read: Callable[[Any], str]) -> Step[str | None]:
    import pandas as pd  # noqa: PLC0415 - half a second at import

    try:
        return read(pd)
    except ImportError:
        what = f"{engine} is not installed, which reads this kind of file"
        yield flaw(file, what, f"pip install {engine}, or export it as CSV (UTF-8)")
    except (ValueError, OSError) as error:
        yield flaw(file, f"it cannot be read ({error})", "export it as CSV (UTF-8)")
    return None


def _with_index(frame: "pd.DataFrame") -> "pd.DataFrame":
    """With an index that has a name as a column."""
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame

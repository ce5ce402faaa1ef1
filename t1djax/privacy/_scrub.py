"""Files without one of the people in them: what is others' stays as it is, byte by byte where the format lets it."""

import csv
import json
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml

from ._contents import inside
from ._person import Person
from ._readings import Readings

_OF_SOMEBODY = ("patient", "name", "patient_id", "id", "subject", "person")
_VIEWS = {".html", ".svg", ".png", ".pdf", ".jpg", ".jpeg"}
_TEXTS = {"", ".txt", ".md", ".log", ".toml", ".cfg", ".ini", ".py", ".sql", ".rst", ".err", ".out"}


class Cleaned(NamedTuple):
    """What becomes of a file."""

    action: str
    """`keep`, `rewrite`, `remove`, or `mixed`: it holds the person beside others, and cannot be rewritten."""
    data: bytes
    """Its new content, where it is rewritten."""
    why: str
    """In words."""


def holds(person: Person, readings: Readings, name: str, data: bytes) -> str | None:
    """What of the person is in a file or anything packed in it; None where nothing is."""
    for part, content in inside(name, data):
        form = person.in_bytes(content)
        if form is not None:
            return f"name ({form}) in {part}"
        form = readings.in_bytes(content)
        if form is not None:
            return f"readings ({form}) in {part}"
    return None


def clean(person: Person, readings: Readings, name: str, data: bytes) -> Cleaned:
    """A file's content without the person.

    Args:
        person: who.
        readings: the person's.
        name: of the file; its ending tells the format.
        data: its content.
    """
    found = holds(person, readings, name, data)
    if found is None:
        return Cleaned("keep", data, "")
    if PurePosixPath(name).suffix.lower() in _VIEWS:
        return Cleaned("remove", b"", "a page or picture that shows the person; it can be made again")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Cleaned("mixed", data, found)
    new = _text(person, PurePosixPath(name), text)
    if new is None:
        return Cleaned("remove", b"", "it is the person's")
    encoded = new.encode()
    if encoded == data:  # readings without a name: they may be another person's that are the same
        return Cleaned("mixed", data, found)
    left = holds(person, readings, name, encoded)
    if left is None:
        return Cleaned("rewrite", encoded, "without the person")
    if not person.others_in(new):
        return Cleaned("remove", b"", f"it holds the person's {left.partition(' ')[0]} and nobody else by name")
    return Cleaned("mixed", data, left)


def _text(person: Person, name: PurePosixPath, text: str) -> str | None:
    if not person.in_text(text) and person.in_bytes(text.encode()) is None:
        return text
    kind = name.suffix.lower()
    if kind in {".json", ".ipynb"} or text[:1] in "{[":
        new = _json_text(person, text)
        if new is not None:
            return new or None
    if kind == ".jsonl":
        lines = [_json_text(person, line) for line in text.splitlines()]
        return "".join(f"{line}\n" for line in lines if line)
    if kind in {".csv", ".tsv"}:
        return "".join(_rows(person, text, "\t" if kind == ".tsv" else ","))
    if kind in {".yaml", ".yml"} or name.name == "MLmodel":
        try:
            content = scrub(person, yaml.safe_load(text))
        except yaml.YAMLError:
            return person.masked(text, forms=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return person.masked(text, forms=True)


def _json_text(person: Person, text: str) -> str | None:
    """The text without the person, written as it was; empty where it is theirs, None where it is no JSON."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if is_theirs(person, content):
        return ""
    new = scrub(person, content)
    end = text[len(text.rstrip()) :]
    for indent in (2, None, 4, 1):
        for separators in (None, (",", ":")):
            for ascii_only in (True, False):
                how: dict[str, Any] = {"indent": indent, "separators": separators, "ensure_ascii": ascii_only}
                if json.dumps(content, **how) + end == text:
                    return json.dumps(new, **how) + end
    return json.dumps(new, indent=2) + end


def is_theirs(person: Person, content: Any) -> bool:
    """Whether a record names the person, and nobody else, as whose it is."""
    if not isinstance(content, dict):
        return False
    return any(isinstance(x := content.get(key), str) and person.alone_in(x) for key in _OF_SOMEBODY)


def scrub(person: Person, content: Any) -> Any:
    """Nested content without the person: records and rows of theirs are left out, mentions are cut from texts."""
    if isinstance(content, dict):
        kept = {k: v for k, v in content.items() if not (isinstance(k, str) and person.in_text(k))}
        return {k: scrub(person, v) for k, v in kept.items() if not is_theirs(person, v)}
    if isinstance(content, list):
        return [scrub(person, x) for x in content if not (is_theirs(person, x) or _row_of(person, x))]
    return scrub_text(person, content) if isinstance(content, str) else content


def _row_of(person: Person, x: Any) -> bool:
    """An element of a list that is the person's: their name, a path of theirs, or a pair that begins with the name."""
    if isinstance(x, list) and x:
        return person.same(x[0])
    return isinstance(x, str) and person.alone_in(x) and not x.lstrip().startswith(("{", "["))


def scrub_text(person: Person, text: str) -> str:
    """A text without the person: an element less in a list of names, else a mark in the name's place."""
    if not any(spelling in text for spelling in person.spellings):
        return text
    if text[:1] in ("{", "["):
        new = _json_text(person, text)
        if new is not None:
            return new or "{}"
    parts = re.split(r"(,\s*)", text)
    names = parts[::2]
    if any(person.same(name.strip()) for name in names) and len(names) > 1:
        left = [name for name in names if not person.same(name.strip())]
        text = (parts[1] if len(parts) > 1 else ",").join(left)
    return person.masked(text)


def _rows(person: Person, text: str, delimiter: str) -> Iterable[str]:
    """Lines of a table but for the person's rows; the others' as they are."""
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter=delimiter)
    before = 0
    for number, row in enumerate(reader):
        raw, before = "".join(lines[before : reader.line_num]), reader.line_num
        mentions = [cell for cell in row if person.in_text(cell)]
        if not mentions:
            yield raw
        elif number == 0 or not any(person.alone_in(cell) for cell in mentions):
            yield _cells(person, raw, row, delimiter)


def _cells(person: Person, raw: str, row: list[str], delimiter: str) -> str:
    """A row that names several people, or the header, without this one."""
    if '"' in raw:
        return person.masked(raw)
    end = raw[len(raw.rstrip("\r\n")) :]
    return delimiter.join(scrub_text(person, cell) for cell in row) + end

"""What the tests of vendors' files share."""

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from t1djax.io import DataError, ReadOptions, finished, settled
from t1djax.io._raw import Raw
from t1djax.io._text import read_text
from t1djax.io.formats import recognised

DAY = dt.datetime(2024, 5, 13)


def parsed(path: Path, text: str | None = None, **options: Any) -> Raw:
    """The file as its one recognised format parses it; what is wrong raises."""
    return told(path, text, **options)[0]


def told(path: Path, text: str | None = None, **options: Any) -> tuple[Raw, list[str]]:
    """The file as its one recognised format parses it, and what is remarked on."""
    if text is not None:
        path.write_text(text, encoding="utf-8")
    content = settled(*finished(read_text(path)))
    kinds = recognised(content)
    assert len(kinds) == 1, [kind.name for kind in kinds]
    raw, remarks = finished(kinds[0].parse([(path, content)], ReadOptions(**options)))
    raw = settled(raw, dataclasses.replace(remarks, warnings=[]))
    assert raw.format == kinds[0].name
    return raw, [*remarks.warnings, *remarks.notes]


def refused(path: Path, text: str | bytes, **options: Any) -> str:
    """Why the file is refused; the message names the file."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as error:
        parsed(path, **options)
    assert path.name in str(error.value)
    return str(error.value)


def at(hour: float, day: int = 0) -> dt.datetime:
    return DAY + dt.timedelta(days=day, hours=hour)


def steps(raw: Raw) -> list[tuple[dt.datetime, float]]:
    return [(b.time, b.rate) for b in raw.basal]


def injections(raw: Raw) -> list[tuple[dt.datetime, float]]:
    """Of long-acting insulin, when and how much."""
    return [(dose.time, dose.amount) for dose in raw.long_acting]

"""OhioT1DM: one XML file per person; times are day-month, rates U/h, carbohydrate g."""

import contextlib
import datetime as dt
import re
from pathlib import Path
from xml.parsers import expat

import numpy as np

from .._checks import SHOWN, Findings, Flaw, quote
from .._raw import Raw, RawBasal, RawDose, RawReading

_TIME = re.compile(r"(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MINUTE = dt.timedelta(minutes=1)
_USED = ("glucose_level", "finger_stick", "basal", "temp_basal", "bolus", "meal")
_BAD = {
    "time": ("is no time", "it is written like 07-12-2021 01:17:00, day first"),
    "number": ("is no amount", "give a number of zero or more"),
    "duration": ("ends before it begins", "put the end after the beginning"),
}


class _Event:
    """Attributes of one element, and the line it stands on."""

    def __init__(self, kind: str, attributes: dict[str, str], line: int, bad: list[tuple[str, str, str, int]]) -> None:
        self.kind, self.attributes, self.line, self.bad = kind, attributes, line, bad

    def time(self, *names: str) -> dt.datetime | None:
        name = next((n for n in names if n in self.attributes), names[0])
        text = self.attributes.get(name, "").strip()
        if parts := _TIME.fullmatch(text):
            day, month, year, hour, minute, second = map(int, parts.groups())
            try:
                return dt.datetime(year, month, day, hour, minute, second)
            except ValueError:
                pass
        return self._wrong("time", name, text)

    def number(self, name: str) -> float | None:
        text = self.attributes.get(name, "").strip()
        return float(text) if _NUMBER.fullmatch(text) else self._wrong("number", name, text)

    def minutes(self, begin: dt.datetime) -> float | None:
        """From the beginning to `ts_end`; None where it has no end, or a wrong one."""
        if not self.attributes.get("ts_end", "").strip():
            return None
        end = self.time("ts_end")
        if end is None:
            return None
        if end < begin:
            self._wrong("duration", "ts_end", self.attributes["ts_end"])
            return None
        return (end - begin) / _MINUTE

    def _wrong(self, what: str, name: str, text: str) -> None:
        self.bad.append((what, f"{self.kind}/{name}", text, self.line))


def recognise(head: str, name: str) -> bool:
    """Whether it is XML of one patient with glucose levels: what its first element is, a parser says."""
    first: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda tag, _: first.append(tag)
    with contextlib.suppress(expat.ExpatError):
        parser.Parse(head.lstrip("\ufeff \t\r\n").encode("utf-8", "replace"), False)
    return first[:1] == ["patient"]


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """The events of a person. Entities are refused: a record has no use for them."""
    file = str(path)
    events, bad, patient = [], [], {}
    section: list[str] = []
    parser = expat.ParserCreate("utf-8")

    def begin(name: str, attributes: dict[str, str]) -> None:
        section.append(name)
        if len(section) == 1:
            patient.update(attributes)
        elif name == "event" and len(section) == 3 and section[1] in _USED:
            events.append(_Event(section[1], attributes, parser.CurrentLineNumber, bad))

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: section.pop()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        found.add(file, "it declares a document type or entities", "remove the declaration", row=1)
        return None
    try:
        parser.Parse(text.lstrip("\ufeff").encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        what = f"it is not whole XML ({expat.ErrorString(error.code)})"
        found.add(file, what, "is it cut off? get the file again", row=error.lineno)
        return None
    raw = _raw(path, patient, events)
    for what, column in dict.fromkeys((what, column) for what, column, _, _ in bad):
        those = [(cell, line) for w, c, cell, line in bad if (w, c) == (what, column)]
        texts = tuple(f"{quote(cell)} {_BAD[what][0]}" for cell, _ in those[:SHOWN])
        found.problems.append(Flaw(file, column, tuple(line for _, line in those), texts, _BAD[what][1]))
    return raw


def _raw(path: Path, patient: dict[str, str], events: list[_Event]) -> Raw:
    of = lambda kind: (event for event in events if event.kind == kind)
    readings, basal, boluses, meals = [], [], [], []
    for kind in ("glucose_level", "finger_stick"):
        for e in of(kind):
            t, value = e.time("ts"), e.number("value")
            if t is not None and value is not None:
                readings.append(RawReading(t, value, e.line, kind="cgm" if kind == "glucose_level" else "fingerstick"))
    for e in of("basal"):
        t, rate = e.time("ts"), e.number("value")
        if t is not None and rate is not None:
            basal.append(RawBasal(t, rate, e.line))
    for e in of("temp_basal"):
        t, rate = e.time("ts_begin", "ts"), e.number("value")
        if t is not None and rate is not None:
            basal.append(RawBasal(t, rate, e.line, e.minutes(t), "temporary"))
    for e in of("bolus"):
        t, dose = e.time("ts_begin", "ts"), e.number("dose")
        if t is not None and dose is not None:
            boluses.append(RawDose(t, dose, e.line, float(np.fmax(e.minutes(t) or 0.0, 1.0))))
    for e in of("meal"):
        t, carbs = e.time("ts"), e.number("carbs")
        if t is not None and carbs is not None:
            meals.append(RawDose(t, carbs, e.line))
    notes = []
    if any(e.attributes.get("type", "").endswith("dual") for e in of("bolus")):
        notes.append("parts of dual boluses are taken as the file times them")
    if "weight" in patient:
        notes.append(f"the stated weight ({patient['weight'].strip()}) has no unit and is not used")
    who = patient.get("id", "").strip() or path.stem
    return Raw(
        format="ohio",
        file=str(path),
        subject=who,
        readings=tuple(readings),
        basal=tuple(basal),
        boluses=tuple(boluses),
        meals=tuple(meals),
        glucose_unit="mg/dL",
        notes=tuple(notes),
    )

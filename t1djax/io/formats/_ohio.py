"""OhioT1DM: one XML file per person; times are day-month, rates U/h, carbohydrate g."""

import contextlib
import datetime as dt
import re
from typing import NamedTuple
from xml.parsers import expat

from .._checks import quote
from .._options import ReadOptions
from .._raw import Raw, RawBasal, RawDose, RawReading
from .._remarks import Doubt, Flaw, Note, Step, flaw
from ._rates import Command, delivered
from ._sheets import Files

_TIME = re.compile(r"(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MINUTE = dt.timedelta(minutes=1)
_USED = ("glucose_level", "finger_stick", "basal", "temp_basal", "bolus", "meal")


class _Event(NamedTuple):
    """Attributes of one element, and the line it stands on."""

    kind: str
    attributes: dict[str, str]
    file: str
    line: int

    def time(self, *names: str) -> Step[dt.datetime | None]:
        name = next((n for n in names if n in self.attributes), names[0])
        if parts := _TIME.fullmatch(self.attributes.get(name, "").strip()):
            day, month, year, hour, minute, second = map(int, parts.groups())
            with contextlib.suppress(ValueError):
                return dt.datetime(year, month, day, hour, minute, second)
        yield self._flaw(name, "is no time", "it is written like 07-12-2021 01:17:00, day first")
        return None

    def number(self, name: str) -> Step[float | None]:
        text = self.attributes.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return float(text)
        yield self._flaw(name, "is no amount", "give a number of zero or more")
        return None

    def minutes(self, begin: dt.datetime) -> Step[float | None]:
        """From the beginning to `ts_end`; None where it has no end, or a wrong one."""
        if not self.attributes.get("ts_end", "").strip():
            return None
        end = yield from self.time("ts_end")
        if end is not None and end < begin:
            yield self._flaw("ts_end", "ends before it begins", "put the end after the beginning")
        return None if end is None or end < begin else (end - begin) / _MINUTE

    def _flaw(self, name: str, what: str, remedy: str) -> Flaw:
        text = quote(self.attributes.get(name, ""))
        return Flaw(self.file, f"{self.kind}/{name}", (self.line,), (f"{text} {what}",), remedy, "line")


def recognise(head: str) -> bool:
    """Whether it is XML of one patient with glucose levels: what its first element is, a parser says."""
    first: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda tag, _: first.append(tag)
    with contextlib.suppress(expat.ExpatError):
        parser.Parse(head.lstrip("\ufeff \t\r\n").encode("utf-8", "replace"), False)
    return first[:1] == ["patient"]


def parse(files: Files, options: ReadOptions) -> Step[Raw | None]:
    """The events of a person. Entities are refused: a record has no use for them."""
    path, text = files[0]
    file = str(path)
    events: list[_Event] = []
    patient: dict[str, str] = {}
    section: list[str] = []
    parser = expat.ParserCreate("utf-8")

    def begin(name: str, attributes: dict[str, str]) -> None:
        section.append(name)
        if len(section) == 1:
            patient.update(attributes)
        elif name == "event" and len(section) == 3 and section[1] in _USED:
            events.append(_Event(section[1], attributes, file, parser.CurrentLineNumber))

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: section.pop()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        yield flaw(file, "it declares a document type or entities", "remove the declaration", row=1)
        return None
    try:
        parser.Parse(text.lstrip("\ufeff").encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        what = f"it is not whole XML ({expat.ErrorString(error.code)})"
        yield flaw(file, what, "is it cut off? get the file again", row=error.lineno)
        return None
    if any(e.kind == "bolus" and e.attributes.get("type", "").endswith("dual") for e in events):
        yield Note("parts of dual boluses are taken as the file times them")
    if "weight" in patient:
        yield Note(f"the stated weight ({patient['weight'].strip()}) has no unit and is not used")
    who = patient.get("id", "").strip() or path.stem
    return (yield from _raw(file, who, events, turn_dates=options.day_first is False))


def _raw(file: str, who: str, events: list[_Event], *, turn_dates: bool) -> Step[Raw]:
    readings: list[RawReading] = []
    scheduled: list[RawBasal] = []
    commands: list[Command] = []
    boluses: list[RawDose] = []
    meals: list[RawDose] = []
    for e in events:
        t = yield from e.time(*(("ts_begin", "ts") if e.kind in ("temp_basal", "bolus") else ("ts",)))
        amount = yield from e.number({"bolus": "dose", "meal": "carbs"}.get(e.kind, "value"))
        if t is None or amount is None:
            continue
        match e.kind:
            case "glucose_level" | "finger_stick":
                readings.append(RawReading(t, amount, e.line, "", "cgm" if e.kind[0] == "g" else "fingerstick"))
            case "basal":
                scheduled.append(RawBasal(t, amount, e.line))
            case "temp_basal":
                minutes = yield from e.minutes(t)
                end = dt.datetime.max if minutes is None else t + minutes * _MINUTE
                commands.append(Command(t, end, e.line, amount))
            case "bolus":
                boluses.append(RawDose(t, amount, e.line, max((yield from e.minutes(t)) or 0.0, 1.0)))
            case _:
                meals.append(RawDose(t, amount, e.line))
    scheduled.sort(key=lambda rate: rate.time)
    if commands and not scheduled:
        yield Doubt("no scheduled basal rate is stated; between temporary rates it is taken as zero")
        scheduled = [RawBasal(min(command.start for command in commands), 0.0, commands[0].where)]
    last = max((x.time for x in (*readings, *scheduled, *boluses)), default=dt.datetime.min)
    # One without an end holds until the next rate of any kind.
    after = lambda t: min((rate.time for rate in scheduled if rate.time > t), default=max(last, t))
    commands = [c._replace(end=after(c.start)) if c.end == dt.datetime.max else c for c in commands]
    return Raw(
        format="ohio",
        file=file,
        subject=who,
        readings=tuple(readings),
        basal=delivered(scheduled, commands),
        boluses=tuple(boluses),
        meals=tuple(meals),
        glucose_unit="mg/dL",
        turn_dates=turn_dates,
    )

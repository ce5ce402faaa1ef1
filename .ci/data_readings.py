"""Readings of glucose in any text, by whoever wrote them: what `.ci/check_data.py` knows them by.

A column is a place in rows, a key in records or a list. It is refused when its name is of glucose or of doses; when its
name is of something else it passes; when it has no name, or one that says nothing, it is judged by its numbers: times
that a sensor's steps apart, values that lie where glucose does and move as slowly and as smoothly.
"""

import json
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean, median, pvariance
from typing import NamedTuple

READINGS = 12
"""An hour at five minutes; fewer rows may stand in a test or a manual."""
BARE = 2 * READINGS
"""Numbers without times are readings from here on."""
NEAR = 250
"""Characters between rows that are of one table."""
STEPS = (1.0, 3.0, 5.0, 10.0, 15.0, 30.0)
"""Minutes between the readings of sensors."""
CLOCKS = (3, 5, 10, 15, 30, 180, 300, 600, 900, 0.05, 1 / 12, 1 / 6, 0.25, 0.5)
"""Steps of a column that counts minutes, seconds or hours."""
_READS_GLUCOSE = re.compile(
    r"gluc|gluk|glyc|glic|sugar|zucker|sgv|cgm|(\b|_)bg(\b|_)|mmol|mg.?dl|dexcom|libre", re.IGNORECASE
)
_DOSES = re.compile(r"insulin|bolus|basal|\bcarb|carbohydrate", re.IGNORECASE)
_OTHER = re.compile(
    r"heart|pulse|bpm|(\b|_)hr(\b|_)|temp|°|celsius|fahrenheit|humid|pressure|hpa|cpu|mem|mib|load|latency|duration"
    r"|elapsed|second|(\b|_)m?s(\b|_)|loss|error|epoch|step|iter|price|speed|power|watt|kw|volt|request|count|item"
    r"|byte|co2|ppm|lux|rpm|percent|%|progress|score|accuracy|calor|weight|cadence|spo2|queue|worker|done"
    r"|(\b|_)rain|(\b|_)wind|kmh|km/h|\bgust|dew.?point|snow|cloud|(\b|_)(TT|RF|FF|DD|PP|RR|TD|TM)_\d+\b"
    r"|(\b|_)(open|close|volume|ele|elevation|altitude|lat|lon|latitude|longitude)(\b|_)|colou?r|(\b|_)rgb|cmap|palette",
    re.IGNORECASE,
)
"""Names of columns that are something else."""
_TIME = (
    r"(?<![\d:.])(?<!\d[+-])(?:(?<=\dT)|(?<![A-Za-z_]))(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:\.\d+)?)?"
    r"(?![\d:])(?:\s?(?P<half>[AaPp])\.?[Mm]\b)?"
    r"|(?<!\d)(?:19|20)\d{6}T?(?P<ch>[01]\d|2[0-3])(?P<cm>[0-5]\d)(?:[0-5]\d)?(?!\d)"
    r"|(?<![\w.])(?P<epoch>1\d{9}(?:\d{3})?)(?:\.\d+)?(?!\w)"
    r"|(?<![\w.])(?P<serial>(?:[34]\d{4}|5[0-4]\d{3}|7[34]\d{4})\.\d{2,})(?!\w)"
)
_NUMBER = (
    r"(?<![\w.:/+-])\d{1,3}(?:\.\d*)?(?:[eE][+-]\d{1,2})?"
    r"(?=$|[^\w:.]|\.(?!\d)|(?:mg|mmol|bpm|m?s|[CF]|U|g|k?W|h|min|[kMG]i?B)(?!\w))(?![-/]\d)"
)
TIMES = re.compile(_TIME)
_TOKEN = re.compile(f"(?P<time>{_TIME})|(?P<number>{_NUMBER})")
_KEY = re.compile(r"([A-Za-z_°%][\w .%/°²()-]{0,40}?)[\"'\])]*\s*[:=]\s*[\"'\[]*$")
_WORD = re.compile(r"([A-Za-z_]{2,})[ (]{1,2}$")
_UNIT = re.compile(r"\s?([°%]?[A-Za-z/%]*)")
_PART = r"\s*(?:[a-z]+\s*=\s*)?"
_CALL = re.compile(
    rf"\b(?:(?:[Dd]ate[Tt]ime|Date|Timestamp)\({_PART}\d{{4}},{_PART}\d\d?,{_PART}\d\d?,|[Tt]ime\()"
    rf"{_PART}([01]?\d|2[0-3]),{_PART}([0-5]?\d)(?!\d)"
)
"""Times as the calls that make them."""
_HOUR = re.compile(r"(?<![\w:.,])([01]?\d|2[0-3])(?:\s?[hH]\s?([0-5]\d)(?!\w)|\.([0-5]\d)(?=\s?Uhr))")
"""6h02 and 06.02 Uhr."""
_COMPACT = re.compile(r"""([\"']|[{,]\s*[A-Za-z_]\w*):(?=[-.\d\"'\[nN])""")
"""JSON and JavaScript without a space after the colon."""
_GAP = (
    r"(?<![\w.])(?:float\(\s*[\"']nan[\"']\s*\)|(?:(?:np|numpy|math|jnp|pd)\.)?(?:None|null|NULL|nan|NaN|NAN|NA(?:_real_)?))"
    r"(?![\w.(])"
)
_GAPS = re.compile(rf"([,;|\[(])(?:\s*(?:[\"']?{_GAP}[\"']?\s*)?[,;|])+|(?<=[\d.])(?:\s+{_GAP})+(?=\s)")
"""Cells of a list that are empty or say that they are."""
_OWN = re.compile(r"([A-Za-z_][\w%/°]*)[\"'\])]*\s*(?::[^=\n]*)?(?:=|:|<-)[\s\[({\"']*(?:[\w.]+\([\s\[({\"']*){0,2}$")
"""The name that a list is given."""
_GIVEN = re.compile(r"\s*(\w+)[^=\n]*=[^=]*[\[({]")
"""The name that a table is given, in the line where it begins."""
_TAG = re.compile(r"<([A-Za-z_][\w.-]*)(?:\s[^<>]*)?>\s*$")
_BETWEEN_ROWS = re.compile(r"([\])}])\s*,\s*(?=[\[({])")
_BARE_ROW = re.compile(r"(?!.*\d[:/-]\d)[^A-DF-Za-df-z_\n]*\d[^A-DF-Za-df-z_\n]*")
_ANY_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w])")
_NUMBER_OR_GAP = re.compile(f"{_ANY_NUMBER.pattern}|{_GAP}")
_NAMED = re.compile(
    r"\b([A-Za-z_]\w*)[\"']?\s*[:=]\s*[\"']?(\d{1,7}(?:\.\d*)?|" + _GAP + r")(?=[\"']?\s*(?:[,;})\]/>]|$))",
    re.MULTILINE,
)
_CELL = r"\d{1,3}(?:\.\d*)?(?:[eE][+-]\d\d?)?"
_LIST = re.compile(
    rf"(?<![\w.:/-])(?:{_CELL}[\"']?(?:\s*[,;|]\s*(?:\|\s*)?|\s+)(?:-[ ]+)?[\"']?){{{READINGS - 1},}}{_CELL}(?![\w.:/])"
)


def parts(text: str) -> Iterator[str]:
    """The text, with escaped line ends as line ends, and the cells of a notebook."""
    text = text.replace("&quot;", '"')
    if '"nbformat"' in text:
        try:
            cells = json.loads(text)["cells"]
            joined = ("".join(cell["source"]) for cell in cells)
            yield from (part.replace("\\n", "\n").replace("\\t", "\t") for part in joined)
        except (ValueError, KeyError, TypeError):
            pass  # looked at as any text
    yield text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"') if "\\" in text else text


def has_readings(text: str) -> bool:
    """Whether an hour of readings or more stands in a text, as rows, records, lists or columns."""
    text = _CALL.sub(lambda call: f" {call[1]}:{int(call[2]):02d}", text)
    text = _HOUR.sub(lambda hour: f"{hour[1]}:{hour[2] or hour[3]}", text)
    text = _COMPACT.sub(r"\1: ", text)
    timed = sum(1 for _ in TIMES.finditer(text)) >= READINGS
    if timed and _timed(text):
        return True
    if timed and any(mark in text for mark in ";\t|") and _timed(re.sub(r"(?<=\d),(?=\d{1,2}\b)", ".", text)):
        return True
    return _listed(text, timed) or _counted(text)


def _minutes(match: re.Match[str]) -> float:
    """The time of day, min."""
    if match["epoch"]:
        return int(match["epoch"][:10]) / 60 % 1440
    if match["serial"]:
        return float(match["serial"]) % 1 * 1440
    if match["ch"]:
        return int(match["ch"]) * 60.0 + int(match["cm"])
    hour = int(match["h"]) % 12 + 12 * (match["half"] in "pP") if match["half"] else int(match["h"])
    return hour * 60 + int(match["m"]) + int(match["s"] or 0) / 60


class Entry(NamedTuple):
    """A number after a time."""

    minute: float
    number: float
    at: int
    name: str


def _timed(text: str) -> bool:
    """Numbers that follow times: each place after a time, or each key, is a column."""
    columns: dict[object, list[Entry]] = defaultdict(list)
    when, place, order, last = None, 0, 0, 0
    for token in _TOKEN.finditer(text):
        between = text[max(last, token.start() - 200) : token.start()]
        last = token.end()
        if token["time"]:
            when, place, order = _minutes(token), 0, 0
            continue
        if when is None:
            continue
        marks = sum(between.count(mark) for mark in ",;\t|\n")
        place, order = place + marks, 0 if marks else order + 1
        key = _KEY.search(between[-60:])
        word = key or _WORD.search(between[-40:]) or _TAG.search(between[-80:])
        unit = _UNIT.match(text, token.end())
        name = f"{word[1] if word else ''} {unit[1] if unit else ''}".strip()
        columns[key[1] if key else (place, order)].append(Entry(when, float(token["number"]), token.start(), name))
    return any(len(column) >= READINGS and _is_personal(column, text) for column in columns.values())


def _is_personal(column: Sequence[Entry], text: str) -> bool:
    """Whether a column is of glucose or doses, by its name or, where it has none, by its behaviour."""
    for near in _near(column):
        name, values = _name(near, text), [entry.number for entry in near]
        if _READS_GLUCOSE.search(name) and len(set(values)) >= 4 and 1 <= median(values) <= 600:
            return True
        if _DOSES.search(name) and len(set(values)) >= 3:
            return True
    for step in STEPS:
        for stretch in _stretches(column, step):
            if like_glucose([entry.number for entry in stretch], step) and not _OTHER.search(_name(stretch, text)):
                return True
    return False


def _near(column: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """An hour or more of numbers that stand together, at whatever times."""
    begin = 0
    for i in range(1, len(column) + 1):
        if i == len(column) or column[i].at - column[i - 1].at > NEAR:
            if i - begin >= READINGS:
                yield column[begin:i]
            begin = i


def _name(column: Sequence[Entry], text: str) -> str:
    """What a column is called: by most of the words beside its numbers, else by its header."""
    names = [entry.name for entry in column]
    name = max(set(names), key=names.count)
    known = any(pattern.search(name) for pattern in (_READS_GLUCOSE, _DOSES, _OTHER))
    return name if known else _header(text, column[0].at)


def _stretches(column: Sequence[Entry], step: float) -> Iterator[list[Entry]]:
    """An hour or more whose times are a step apart; up to two may lack between, and times may repeat."""
    stretch, ones, last = [column[0]], 0, column[0].minute
    for entry in (*column[1:], None):
        apart = min((entry.minute - last) % 1440, (last - entry.minute) % 1440) if entry else 0.0
        if entry and apart < 0.3:
            continue
        steps = round(apart / step)
        if entry and 1 <= steps <= 3 and abs(apart - steps * step) <= 0.3 + 0.03 * step:
            stretch.append(entry)
            ones += steps == 1
        else:
            if len(stretch) >= READINGS and ones >= 0.6 * (len(stretch) - 1):
                yield stretch
            stretch, ones = [entry] if entry else [], 0
        last = entry.minute if entry else last


def _header(text: str, at: int) -> str:
    """What stands above a number: its cell in the nearest line above with as many cells and no time."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin : text.find("\n", at) if "\n" in text[at:] else len(text)]
    mark = "|" if line.lstrip().startswith("|") else max(",;\t|", key=line.count)
    cell = line[: at - begin].count(mark)
    for above in reversed(text[max(begin - 2**20, 0) : begin].splitlines()):
        if not above.strip():
            return ""  # another table
        cells = above.split(mark)
        if len(cells) == line.count(mark) + 1 > 1 and re.search(r"[A-Za-z°%]", cells[cell]) and not TIMES.search(above):
            traded = re.search(r"\bopen\b", above, re.IGNORECASE) and re.search(r"\bclose\b", above, re.IGNORECASE)
            return f"price {cells[cell]}" if traded else cells[cell]
    return ""


def like_glucose(values: Sequence[float], step: float, *, most_rough: float | None = None) -> bool:
    """Whether numbers lie where glucose does, mg/dL or mmol/L, and move as slowly and smoothly; no straight line."""
    held = [value for value in values if 1 <= value <= 600]
    if len(held) < max(0.9 * len(values), READINGS) or len(set(held)) < (4 if len(held) < BARE else 3):
        return False
    low, high = min(held), max(held)
    in_mg_dL = low >= 20 and high >= 60
    in_mmol_L = high <= 34 and any(value % 1 for value in held) and not (low >= 15 and high - low < 8)
    moves = [b - a for a, b in pairwise(held)]
    most = min(25.0, 3 + 2.5 * step) / (1 if in_mg_dL else 18)
    if not (in_mg_dL or in_mmol_L) or median(map(abs, moves)) > most:
        return False
    rough = fmean(move * move for move in moves) / (pvariance(held) or 1.0)
    if rough > (most_rough or (0.4 if step < 2.5 else 1.2)):
        return False
    one_way = all(move >= 0 for move in moves) or all(move <= 0 for move in moves)
    straight = pvariance(moves) <= 0.02 * fmean(moves) ** 2
    return not straight and not (one_way and len(held) >= (BARE if most_rough else 6 * READINGS))


def _listed(text: str, timed: bool) -> bool:
    """A list of numbers without times, or beside a list of times."""
    text = _GAPS.sub(r"\1", text)
    for found in _LIST.finditer(text):
        values = [float(match[0]) for match in _ANY_NUMBER.finditer(found[0])]
        before = text[max(found.start() - 60, 0) : found.start()]
        own = _OWN.search(before)
        words = [own[1]] if own else re.findall(r"[A-Za-z_°%][\w°%/]*", before)
        if own and _READS_GLUCOSE.search(own[1]) and len(values) > READINGS and _varied(values):
            return True
        if len(values) < (READINGS if timed else BARE):
            continue
        if words and _OTHER.search(words[-1]) and not _READS_GLUCOSE.search(words[-1]):
            continue
        if like_glucose(values, 5, most_rough=0.4):
            return True
    return False


def _varied(values: Sequence[float]) -> bool:
    """Whether numbers under a name of glucose are more than an example: some differ, and their steps do."""
    moves = {round(b - a, 3) for a, b in pairwise(values)}
    return len(set(values)) >= 4 and len(moves) > 3 and 1 <= median(values) <= 600


def _counted(text: str) -> bool:
    """Rows or records of numbers alone, of which one counts minutes, seconds or hours."""
    tables: list[tuple[list[str], list[list[float]]]] = [([], [])]
    before = ""
    for line in _BETWEEN_ROWS.sub(r"\1\n", text).splitlines():
        bare = len(line) < 400 and _BARE_ROW.fullmatch(re.sub(_GAP, "", line))
        numbers = [_or_nan(match[0]) for match in _NUMBER_OR_GAP.finditer(line)] if bare else []
        if len(numbers) < 2:
            before = line if re.search(r"[A-Za-z]", line) else before
            if not bare and re.search(r"\w", line):
                tables.append(([], []))
            continue
        if tables[-1][1] and len(tables[-1][1][-1]) != len(numbers):
            tables.append(([], []))
        if not tables[-1][1]:
            given = _GIVEN.match(before)
            names = [given[1]] * len(numbers) if given else re.split(r"[,;\t|]", before.strip().strip("|"))
            tables[-1] = (names if len(names) == len(numbers) else [""] * len(numbers), [])
        tables[-1][1].append(numbers)
    named: dict[str, list[float]] = defaultdict(list)
    for match in _NAMED.finditer(text):
        named[match[1]].append(_or_nan(match[2]))
    for size in {len(values) for values in named.values() if len(values) >= READINGS}:
        same = {name: values for name, values in named.items() if len(values) == size}
        tables.append((list(same), [list(row) for row in zip(*same.values(), strict=True)]))
    return any(_counts(names, rows) for names, rows in tables if len(rows) >= READINGS)


def _or_nan(cell: str) -> float:
    return float(cell) if cell[0] in "-0123456789" else math.nan


def _counts(names: Sequence[str], rows: Sequence[Sequence[float]]) -> bool:
    columns = list(zip(*rows, strict=True))
    moves = [[b - a for a, b in pairwise(column) if not math.isnan(b - a)] for column in columns]
    steps = [median(each or [math.nan]) for each in moves]
    even = [
        sum(abs(b - a - step) < 1e-3 for a, b in pairwise(column)) >= 0.8 * (len(column) - 1)
        for column, step in zip(columns, steps, strict=True)
    ]
    clock = any(
        e and any(math.isclose(abs(s), c, abs_tol=2e-3) for c in CLOCKS) for e, s in zip(even, steps, strict=True)
    )
    index = any(e and abs(s) == 1 for e, s in zip(even, steps, strict=True)) and len(rows) >= BARE
    return (clock or index) and any(
        not e
        and not (_OTHER.search(name) and not _READS_GLUCOSE.search(name))
        and like_glucose([value for value in column if not math.isnan(value)], 5, most_rough=0.5)
        for name, column, e in zip(names, columns, even, strict=True)
    )


def has_raw_numbers(content: bytes, *, surely: bool = False) -> bool:
    """Numbers as a computer holds them, behind a short header or none; `surely` where it can be no text."""
    if len(content) < BARE:
        return False
    binary = surely or bool(re.search(rb"[\x00-\x08\x0e-\x1a]", content[:4096]))
    if not binary and content.isascii():
        return False
    for kind in "fdhiqB" if binary else "B":
        values = array(kind)
        count = min(len(content), 2**18) // values.itemsize
        begin = len(content) % values.itemsize
        values.frombytes(content[begin : begin + count * values.itemsize])
        for _ in range(1 if kind == "B" else 2):
            if _raw_readings(values[:256]) and (len(values) <= 256 or _raw_readings(values)):
                return True
            values.byteswap()
    return False


def _raw_readings(values: "array[float]") -> bool:
    """Whether numbers are readings; a quarter may be gaps, which arrays fill with NaN, 0, -1 or the greatest number."""
    most = 254 if values.typecode == "B" else 600
    held = [value for value in values if 1 <= value <= most]
    return len(held) >= max(0.75 * len(values), BARE) and like_glucose(held, 5, most_rough=0.4)

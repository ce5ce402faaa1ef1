"""What a page's tables say: numbers as texts, with their units."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Patient
from ..evaluation import Glycaemia, doubts, episodes, metrics
from ..physics import AbstractPhysiology
from ..records import (
    NOT_TOLD,
    SETTINGS,
    UNITS,
    Estimate,
    Fit,
    PersonSettings,
    Replay,
    Result,
    Symbol,
    interval_words,
    legend,
    rounded,
    symbols_of,
)

if TYPE_CHECKING:
    import pandas as pd

_NOTHING = "\N{EN DASH}"
_LONGEST = 12
"""Entries of a list that a page shows."""


def plain(value: Any) -> Mapping[str, Any]:
    """A record as a mapping: itself, or what its `as_dict` gives."""
    found = value if isinstance(value, Mapping) else value.as_dict()
    return dict(found)


def text(value: Any) -> str:
    """A value as people read it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return _NOTHING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return "∞" if np.isinf(value) else f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{_words(k)}: {text(v)}" for k, v in value.items()) or _NOTHING
    if isinstance(value, list | tuple | np.ndarray):
        shown = [text(v) for v in value[:_LONGEST]]
        more = f" … and {len(value) - _LONGEST} more" if len(value) > _LONGEST else ""
        return ("; ".join(shown) + more) or _NOTHING
    return str(value)


def control(found: Glycaemia, patient: Patient) -> dict[str, Any]:
    """Glycaemic metrics, doses per day, and whether they are representative, as texts and shares."""
    one = lambda x: _NOTHING if np.isnan(x) else f"{x:.1f}"
    digits = 0 if found.unit == "mg/dL" else 1
    basal, bolus, carbs = _per_day(patient)
    out_of_range = {name.replace("_", " "): n for name, n in episodes(patient)._asdict().items()}
    few = [] if found.representative else [
        f"{one(found.days)} days with data for {found.data_percent:.0f} % of the time: the consensus asks for 14 days "
        "and 70 % before such numbers are taken to represent a person"
    ]  # fmt: skip
    return {
        "overview": [
            str(found.n_readings),
            one(found.days),
            f"{found.data_percent:.0f}",
            f"{found.mean:.{digits}f}",
            f"{found.sd:.{digits}f}",
            one(found.cv_percent),
            one(found.gmi_percent),
            f"{one(found.gri)} ({found.gri_zone})",
            one(found.lbgi),
            one(found.hbgi),
        ],
        "ranges": [
            found.very_low_percent,
            found.low_percent,
            found.in_range_percent,
            found.high_percent,
            found.very_high_percent,
        ],
        "doses": {"basal, U/day": one(basal), "bolus, U/day": one(bolus), "carbohydrate, g/day": one(carbs)}
        | {f"episodes {name}, a week": f"{7 * n / max(found.days, 1.0):.1f}" for name, n in out_of_range.items()},
        "cautions": few,
    }


def _per_day(patient: Patient) -> tuple[float, float, float]:
    """Basal and bolus insulin (U/day) and carbohydrate (g/day) over the rows of a record."""
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    days, d = (last - first) / 1440, patient.doses
    since, rate = d.background
    edges = np.clip(np.append(since, np.inf), first, last)
    edges[0] = first  # before the first one stated, the first holds
    inside = lambda t: (t >= first) & (t < last)
    basal = float(np.sum(rate * np.diff(edges)) / 60)
    bolus, carbs = d.bolus_U[inside(d.bolus_time_min)].sum(), d.carbs_g[inside(d.meal_time_min)].sum()
    return basal / days, float(bolus) / days, float(carbs) / days


def stated(read: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was read of a file: rows of a table, and the problems, warnings and notes apart."""
    if read is None:
        return {}
    texts = {k: [text(x) for x in read.get(k) or ()] for k in ("problems", "warnings", "notes")}
    rows = [(_words(k), text(v)) for k, v in read.items() if k not in texts and v not in (None, "", (), [])]
    return {"rows": rows, **texts}


def verdicts(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the data can tell: the verdict on each parameter, in words; other entries as they are."""
    if found is None:
        return {}
    rows = []
    for symbol, entry in {**(found.get("parameters") or {}), **(found.get("derived") or {})}.items():
        rows.append(
            {
                "symbol": symbol,
                "meaning": entry.get("meaning") or legend([symbol]).get(symbol, ""),
                "unit": entry.get("unit") or UNITS.get(symbol, ""),
                "value": text(entry.get("value")),
                "interval": interval_words(*(entry.get("interval") or (None, None))),
                "verdict": entry.get("verdict", ""),
                "reason": entry.get("reason", ""),
            }
        )
    directions = [d.get("words", "") if isinstance(d, Mapping) else str(d) for d in found.get("directions") or ()]
    known = {"name", "parameters", "derived", "directions", "warnings", "correlation", "what_if", "misfit"}
    rest = [(_words(k), text(v)) for k, v in found.items() if k not in known]
    texts = [*directions, *map(str, found.get("warnings") or ())]
    more = {row["symbol"]: Symbol(row["unit"], row["meaning"]) for row in rows if row["meaning"]}
    return {"rows": rows, "said": texts, "rest": rest, "legend": legend((row["symbol"] for row in rows), more)}


def window_table(windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each window of a person tells: a row per window, a column per parameter; warnings and how many have each."""
    if not windows:
        return {}
    symbols = list(dict.fromkeys(s for w in windows for s in w["parameters"]))
    rows = []
    for window in windows:
        found = {row["symbol"]: row for row in verdicts(window)["rows"]}
        rows.append((str(window["name"]).rpartition("@")[2], [found.get(symbol) for symbol in symbols]))
    warned: dict[str, list[str]] = {}
    for (label, _), window in zip(rows, windows, strict=True):
        for warning in window.get("warnings") or ():
            warned.setdefault(str(warning), []).append(label)
    texts = [f"{', '.join(labels[:_LONGEST])}: {warning}" for warning, labels in warned.items()]
    more = [] if len(texts) <= _LONGEST else [f"and {len(texts) - _LONGEST} more warnings"]
    units = [next((cells[k]["unit"] for _, cells in rows if cells[k]), "") for k in range(len(symbols))]
    heads = list(zip(symbols, units, strict=True))
    return {"symbols": heads, "rows": rows, "said": texts[:_LONGEST] + more, "legend": legend(symbols)}


def fit_blocks(fits: Fit | Iterable[Result], people: Mapping[str, Patient]) -> dict[str, list[dict[str, Any]]]:
    """The fits of each patient, from a fit in memory or from result folders."""
    found: dict[str, list[dict[str, Any]]] = {}
    if isinstance(fits, Fit):
        for fit in fits:
            if fit.name not in people:
                found[fit.name] = []
                continue
            estimates = {s: e._asdict() for s, e in {**fit.estimates, **fit.derived}.items()}
            errors, remarks = metrics(fit), doubts(fit, priors=fits.problem.priors)
            found.setdefault(fit.name, []).append(
                _fit_block(fits.model, fits.problem.mode, fit.ok, estimates, errors, remarks, fit.body)
            )
        return found
    for result in fits:
        m = result.metadata
        say: list[str] = list(m.get("doubts") or ()) or ([m["message"]] if m.get("message") else [])
        estimates = {**m["estimates"], **m["derived"]}
        found.setdefault(m["patient"], []).append(
            _fit_block(m["model"], m["mode"], bool(m["ok"]), estimates, m["metrics"], say, result.body)
        )
    return found


def _fit_block(
    model: str,
    mode: str,
    ok: bool,
    estimates: Mapping[str, Mapping[str, Any]],
    errors: Mapping[str, Any],
    say: list[str],
    body: type[AbstractPhysiology],
) -> dict[str, Any]:
    rows, symbols = [], symbols_of(body)
    for symbol, entry in estimates.items():
        error = entry.get("standard_error")
        flags = list(Estimate.read(entry).remarks)
        if not error and entry.get("white_error") is None and not entry.get("c_assumed"):
            flags.append("known")
        rows.append((symbol, symbols[symbol].unit, text(entry.get("value")), text(error), ", ".join(flags)))
    names = (("fit", "readings fitted"), ("held_out", "held out"), ("forecast", "after the forecast start"))
    rmse = [(label, text(errors.get(f"rmse_{s}_mg_dL"))) for s, label in names]
    shown = legend(estimates, symbols)
    return {"model": model, "mode": mode, "ok": ok, "rows": rows, "rmse": rmse, "doubts": say, "legend": shown}


Row = dict[str, Any]


def score_rows(table: "pd.DataFrame | None") -> list[Row]:
    """The rows of all readings that have some."""
    if table is None:
        return []
    rows: list[Row] = [{str(k): v for k, v in row.items()} for row in table.to_dict(orient="records")]
    return [row for row in rows if row["range"] == "all" and row["n"] > 0]


def patient_scores(rows: list[Row], name: str) -> dict[str, Any]:
    """RMSE by method and horizon, with the coverage of the 90 % interval."""
    own = {(r["method"], r["future_inputs"], r["horizon_min"]): r for r in rows if r["patient"] == name}
    if not own:
        return {}
    horizons = sorted({horizon for *_, horizon in own})
    lines = []
    for method, knows in dict.fromkeys((method, knows) for method, knows, _ in own):
        cells = []
        for horizon in horizons:
            row = own.get((method, knows, horizon))
            cover = np.nan if row is None else row["coverage_90_percent"]
            error = _NOTHING if row is None else f"{row['rmse_mg_dL']:.1f}"
            cells.append(error + ("" if np.isnan(cover) else f" ({cover:.0f} %)"))
        lines.append((method, knows, cells))
    return {"horizons": [f"{h:g}" for h in horizons], "rows": lines}


def cohort_scores(rows: list[Row]) -> list[list[str]]:
    """Means over people, by method and horizon; shares of hypoglycaemia over the people who have some."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["future_inputs"], row["horizon_min"]), []).append(row)
    lines = []
    for (method, knows, horizon), part in groups.items():
        total = lambda column, part=part: str(sum(int(row[column]) for row in part))
        mean = lambda column, digits=1, part=part: _number(_mean([float(row[column]) for row in part]), digits)
        lines.append(
            [method, knows, f"{horizon:g}", str(len(part)), total("n")]
            + [mean(c) for c in ("rmse_mg_dL", "mard_percent", "bias_mg_dL", "crps_mg_dL")]
            + [mean(c, 0) for c in ("coverage_50_percent", "coverage_90_percent")]
            + [total("hypo_n")]
            + [mean(c, 0) for c in ("hypo_sensitivity_percent", "hypo_false_alarm_percent")]
        )
    return lines


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _number(x: float, digits: int) -> str:
    return _NOTHING if np.isnan(x) else f"{round(x, digits) + 0.0:.{digits}f}"  # never -0.0


def _words(key: Any) -> str:
    """`basal_U_day` as people say it."""
    name = str(key)
    for end, unit in (("_mg_dL", "mg/dL"), ("_U_day", "U/day"), ("_g_day", "g/day"), ("_g_per_U", "g/U"),
                      ("_min", "min"), ("_h", "h"), ("_kg", "kg"), ("_percent", "%"), ("_day", "per day")):  # fmt: skip
        if name.endswith(end) and name != end:
            return f"{name.removesuffix(end).replace('_', ' ')}, {unit}"
    return name.replace("_", " ")


RANGES = {
    "mg/dL": ("below 54", "54 to 69", "70 to 180", "181 to 250", "above 250"),
    "mmol/L": ("below 3.0", "3.0 to 3.8", "3.9 to 10.0", "10.1 to 13.9", "above 13.9"),
}
"""Ranges of the consensus, by unit."""


def replay_rows(replay: Replay, patient: Patient, unit: str = "mg/dL") -> dict[str, Any]:
    """Time in ranges of a replay, as it was and as it would have been, and what has to be known of it."""
    ranges = replay.in_ranges().drop(columns="range")
    rows = [
        (name, f"{was:.1f}", f"{middle:.1f} ({low:.1f} to {high:.1f})")
        for name, (was, middle, low, high) in zip(RANGES[unit], ranges.to_numpy().tolist(), strict=True)
    ]
    answered = None
    if replay.answered is not None:
        insulin, carbs = np.median(replay.answered, axis=0)
        answered = f"{insulin:+.2f} U of insulin and {carbs:+.0f} g of carbohydrate"
    return {
        "scenario": replay.scenario, "span": replay.span(patient.start), "rows": rows, "remarks": replay.remarks,
        "answered": answered,
    }  # fmt: skip


def settings_rows(person: PersonSettings) -> dict[str, Any]:
    """Three numbers for the whole day and its parts, the rules of thumb, and the verdict."""
    parts = (None, *range(len(person.starts_h)))
    cell = lambda s: f"{rounded(s.value)} ({rounded(s.low)} to {rounded(s.high)})"
    rows = [
        (
            person.hours(k),
            [(cell(s), s.knowledge != NOT_TOLD) for w in SETTINGS for s in [person.setting(w, k)]],
            (str(seen.corrections), str(seen.meals), f"{seen.fasting_h:.0f}"),
        )
        for k, seen in zip(parts, person.informative, strict=True)
    ]
    rows.append(("rules of thumb", [(rounded(person.rules[w]), True) for w in SETTINGS], ("", "", "")))
    heads = [
        *(f"{row.meaning}, {row.unit}" for row in person.meanings.values()),
        "insulin alone",
        "meals",
        "fasting, h",
    ]
    about = (
        f"{person.days:.3g} days, {person.readings} readings, {person.daily_U:.3g} U a day; largest change within "
        f"eight hours from rest at {person.start_glucose}, bodies {person.bodies_in_words}; 90 % intervals"
    )
    return {"heads": heads, "rows": rows, "lines": person.verdict().splitlines(), "about": about}

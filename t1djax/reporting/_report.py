"""One self-contained page per cohort."""

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._types import GlucoseUnit
from ..data import Cohort, Patient
from ..evaluation import glycaemia, score_forecasts
from ..records import Fit, PersonSettings, Replay, Result, RollingForecasts, person_of
from ._figures import forecast_figures, horizon_figures, patient_figures, replay_figure, settings_figure, window_figures
from ._page import rendered
from ._tables import (
    RANGES,
    cohort_scores,
    control,
    fit_blocks,
    patient_scores,
    plain,
    replay_rows,
    score_rows,
    settings_rows,
    stated,
    verdicts,
    window_table,
)

_FIGURES_FOR = 40


def write_report(
    patients: Iterable[Patient],
    path: str | Path,
    *,
    title: str = "Glucose report",
    unit: GlucoseUnit = "mg/dL",
    read: Mapping[str, Any] | None = None,
    fits: Fit | Iterable[Result] = (),
    forecasts: Iterable[RollingForecasts] = (),
    identification: Mapping[str, Any] | Iterable[Any] = (),
    replays: Iterable[Replay] = (),
    settings: Iterable[PersonSettings] = (),
    figures_for: int = _FIGURES_FOR,
    created: dt.datetime | None = None,
) -> Path:
    """Write a report of a cohort as one HTML file that loads nothing from anywhere.

    It holds, for each person, what was read, the glycaemic metrics, a profile, a day, the fits with their doubts, and
    the forecasts beside simple methods with the coverage of their intervals; then the same over all people, and what
    the numbers mean and do not mean. It shows a person's data: keep it as you keep those.

    Args:
        patients: the cohort.
        path: the file to write; its folder is made.
        title: the heading.
        unit: unit of glucose in tables, profiles and settings; errors of forecasts and replays stay in mg/dL.
        read: by patient, what was read of the file, as a mapping or a record with `as_dict`.
        fits: a fit of the cohort, or results as `read_result` gives them.
        forecasts: of the patients, by one or several methods.
        identification: what the data can tell of the parameters, by patient or as records with a `name`; mappings or
            records with `as_dict`. Windows, of names such as `Ada@0012h`, stand together in their person's section.
        replays: what glucose would have been with other doses.
        settings: sensitivity, carbohydrate ratio and basal need, as `person_settings` finds them.
        figures_for: how many people, in order, get figures; a hundred of them make a page that no browser likes.
        created: the time to state; left out, now.

    Returns:
        The file.

    Raises:
        ValueError: where there is no patient, or something is of a patient who is not in the cohort.
        OSError: where the file cannot be written.

    Example:
        >>> import pathlib, tempfile, t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = t1djax.write_report(cohort, pathlib.Path(folder, "report.html"), figures_for=0)
        ...     "not a medical device" in page.read_text(encoding="utf-8")
        True
    """
    people = Cohort.of(patients).patients
    if not people:
        raise ValueError("write_report: give at least one patient")
    ahead, replayed, of_people = list(forecasts), list(replays), list(settings)
    sources, identified = _by_name(read or {}), _by_name(identification)
    fitted = fit_blocks(fits, {patient.name: patient for patient in people})
    names = {patient.name for patient in people}
    windows: dict[str, list[Mapping[str, Any]]] = {}
    for name, one in identified.items():
        windows.setdefault(person_of(name, names) or name, []).append({"name": name, **one})
    found = {name: identified[name] for name in windows if name in identified}
    windows = {name: [one for one in many if one["name"] != name] for name, many in windows.items()}
    for what, owners in (("read", sources), ("fits", fitted), ("forecasts", {f.name for f in ahead}),
                         ("identification", windows), ("replays", {r.name for r in replayed}),
                         ("settings", {s.name for s in of_people})):  # fmt: skip
        if strange := sorted(set(owners) - names):
            raise ValueError(f"write_report: {what} of {', '.join(strange)}, who is not among the patients")
    table = score_forecasts(ahead) if ahead else None
    rows = score_rows(table)
    blocks = []
    for k, patient in enumerate(people):
        own = [f for f in ahead if f.name == patient.name]
        drawn = k < figures_for
        blocks.append(
            {
                "name": patient.name,
                "anchor": f"person-{k + 1}",
                "control": control(glycaemia(patient, unit=unit), patient),
                "read": stated(sources.get(patient.name)),
                "identification": verdicts(found.get(patient.name)),
                "windows": window_table(windows.get(patient.name, [])),
                "window_figures": window_figures(patient.name, windows.get(patient.name, [])) if drawn else [],
                "fits": fitted.get(patient.name, []),
                "replays": [
                    replay_rows(r, patient, unit) | {"figures": [replay_figure(r, patient)] if drawn else []}
                    for r in replayed
                    if r.name == patient.name
                ],
                "settings": [
                    settings_rows(s) | {"figures": [settings_figure(s)] if drawn else []}
                    for s in (one.in_unit(unit) for one in of_people)
                    if s.name == patient.name
                ],
                "scores": patient_scores(rows, patient.name),
                "figures": patient_figures(patient, unit) if drawn else [],
                "forecast_figures": forecast_figures(patient, own) if drawn and own else [],
            }
        )
    page = rendered(
        "report.html.jinja",
        title=title,
        unit=unit,
        created=f"{created or dt.datetime.now():%Y-%m-%d %H:%M}",
        people=blocks,
        undrawn=max(0, len(people) - figures_for),
        scores=cohort_scores(rows),
        score_figures=horizon_figures(table) if figures_for > 0 and table is not None and rows else [],
        ranges=RANGES[unit],
        about={"settings": of_people, "replays": replayed, "fits": fitted or windows or found},
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _by_name(given: Mapping[str, Any] | Iterable[Any]) -> dict[str, Mapping[str, Any]]:
    if isinstance(given, Mapping):
        return {name: plain(value) for name, value in given.items()}
    return {each.name: plain(each) for each in given}

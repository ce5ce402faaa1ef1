"""What is no dose is none, what is long-acting is basal, and nothing counts twice: by vendor and by name."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1djax import Cohort, Doses, Patient, frame_to_patient, inspect_file, patient_to_frame, read_cohort, read_recording
from t1djax.data import split
from t1djax.io import write_cohort
from t1djax.io._insulin import is_equivalent, is_priming, kind_of_insulin

from . import cases
from .cases import about, carelink, person, tide, treatment

DAYS = 2 - 5 / 1440  # from the first reading to the last
INJECTIONS = [21.5, 45.5]  # hours


@pytest.mark.parametrize(
    ("micro", "sums", "says"),
    [(False, True, "spread"), (True, False, "automatic basal"), (True, True, "left out")],
)
@pytest.mark.parametrize("rates", [True, False])
def test_a_closed_loop_of_medtronic(tmp_path: Path, micro: bool, sums: bool, says: str, rates: bool) -> None:
    report = inspect_file(carelink(tmp_path, micro=micro, sums=sums, rates=rates))
    assert report.problems == ()
    assert report.basal_U_day == pytest.approx(21.6, rel=2e-3)
    assert report.bolus_U_day == pytest.approx(17, rel=2e-3)
    assert report.boluses_day == pytest.approx(3, rel=2e-3)
    assert about(report, "automatic", says)


def test_micro_boluses_of_a_670g_are_basal_and_stop_with_the_loop(tmp_path: Path) -> None:
    file = carelink(tmp_path, micro=True, rates=False, source="CLOSED_LOOP_MICRO_BOLUS")
    lines = file.read_text().splitlines(keepends=True)
    gap = [line for line in lines if not ("MICRO" in line and "2024/03/05;1" in line)]  # ten hours of a day
    file.write_text("".join(gap))
    assert inspect_file(file).basal_U_day == pytest.approx(21.6 * 62 / 72, rel=5e-3)


XDRIP = {"insulinInjections": json.dumps([{"insulin": "Toujeo", "units": 20.0}, {"insulin": "Actrapid", "units": 2.0}])}


@pytest.mark.parametrize(
    "how",
    [
        XDRIP | {"insulin": 22.0},
        {"insulinInjections": [{"insulin": "Insulatard", "units": 20}], "insulin": 22.0},
        {"insulin": 20.0, "isBasalInsulin": True, "notes": "Toujeo"},
        {"insulin": 20.0, "isBasalInsulin": True},
        {"insulin": 20.0, "insulinType": "Tresiba"},
        {"insulin": 20.0, "notes": "Lantus"},
        {"insulin": 20.0, "eventType": "Long-acting injection"},
    ],
)
def test_pens_in_nightscout(tmp_path: Path, how: dict[str, Any]) -> None:
    report = person(tmp_path, *({**treatment(hour), **how} for hour in INJECTIONS), pump=False)
    assert report.long_acting_U_day == pytest.approx(40 / DAYS)
    assert report.basal_U_day == pytest.approx(20, rel=1e-3)  # from the first injection on
    rest = 4 if how["insulin"] == 22 else 0
    assert report.bolus_U_day == pytest.approx((34 + rest) / DAYS)
    assert about(report, "first long-acting injection", "21.5 h")


def test_an_insulin_of_no_known_name_is_remarked_on(tmp_path: Path) -> None:
    part = json.dumps([{"insulin": "Zaubertrank", "units": 5}])
    report = person(tmp_path, {**treatment(9), "insulin": 5, "insulinInjections": part})
    assert about(report, "Zaubertrank", "boluses")
    assert not about(person(tmp_path, {**treatment(9), "insulin": 5, "insulinType": "Fiasp"}), "Fiasp")


def test_a_long_story_in_the_notes_is_no_name(tmp_path: Path) -> None:
    report = person(tmp_path, treatment(9, insulin=3, notes="forgot my Lantus yesterday evening, so a bit more"))
    assert report.long_acting_U_day is None


NAMES = {
    "long": ["Lantus", "Toujeo SoloStar", "insulin glargine-yfgn", "Abasaglar", "Levemir", "detemir", "Tresiba",
             "NPH", "Humulin N", "Insuman Basal", "Protaphane", "Insulatard", "Long-Acting", "Langzeitinsulin", "Lente",
             "Verzögerungsinsulin", "insulina lenta", "langwerkend", "Awiqli", "intermediate"],
    "rapid": ["NovoRapid", "Novolog", "Fiasp", "aspart", "Humalog", "Lyumjev", "Apidra", "Actrapid", "Humulin R",
              "Insuman Rapid", "Rapid-Acting", "kurzwirksam", "Admelog", "Trurapi"],
    "mixed": ["NovoMix 30", "Humalog Mix25", "Humulin 70/30", "Ryzodeg", "Actraphane 30"],
    None: ["Zaubertrank", ""],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_kinds_of_insulin_by_name(kind: str | None, name: str) -> None:
    assert kind_of_insulin(name) == kind


@pytest.mark.parametrize("how", [{"type": "PRIMING"}, {"eventType": "Site Change"}, {"eventType": "Cannula Fill"},
                                 {"eventType": "Prime"}, {"type": "FILL_TUBING"}])  # fmt: skip
def test_filling_a_tube_is_no_dose(tmp_path: Path, how: dict[str, str]) -> None:
    report = person(tmp_path, {**treatment(9.5, insulin=8.0), **how})
    assert report.bolus_U_day == pytest.approx(34 / DAYS)
    assert about(report, "left out", "1 fill", "8 U")
    assert not is_priming("Meal Bolus")


@pytest.mark.parametrize(
    "how", [{"isFPU": True}, {"fpuID": "X"}, {"eventType": "Carb Equivalents"}, {"foodType": "FPU"}]
)
def test_fat_and_protein_are_no_carbohydrate(tmp_path: Path, how: dict[str, Any]) -> None:
    report = person(tmp_path, *({**treatment(13 + i / 2, carbs=12), **how} for i in range(6)))
    assert report.carbs_g_day == pytest.approx(340 / DAYS)
    assert about(report, "6", "72 g")
    assert not is_equivalent("Meal Bolus")


def test_what_is_only_planned_is_left_out(tmp_path: Path) -> None:
    report = person(tmp_path, treatment(9, "Planned Bolus", insulin=5), treatment(80, insulin=6))
    assert report.bolus_U_day == pytest.approx(34 / DAYS)
    assert about(report, "planned, 5 U")
    assert about(report, "1 dose after the last reading")


def test_doses_on_record_twice_are_remarked_on(tmp_path: Path) -> None:
    report = person(tmp_path, *({**x, "created_at": x["created_at"].replace(":11:", ":12:"), "carbs": None}
                                for x in cases.meals()))  # fmt: skip
    assert report.bolus_U_day == pytest.approx(68 / DAYS)
    assert about(report, "6 boluses (34 U)", "2 min", "17 U/day")
    assert not about(person(tmp_path, treatment(9, insulin=1.0)), "2 min")


# Own tables


def test_long_acting_insulin_goes_round_in_a_table(tmp_path: Path) -> None:
    doses = Doses.of(boluses=[(60, 4.0)], long_acting=[(-120, 24.0), (1500, 12.0), (2000, 70.0, 10080)])
    rows = np.arange(0.0, 2885, 5)
    ada = Patient("Ada", rows, cases.course(len(rows)), doses)
    write_cohort(Cohort((ada,)), tmp_path)
    back = read_cohort(tmp_path)["Ada"].doses
    assert back.long_acting_U.tolist() == [24.0, 12.0, 70.0]
    for a, b in zip(back.rates(0, 2880), doses.rates(0, 2880), strict=True):
        assert np.allclose(a, b)
    report = inspect_file(tmp_path / "Ada.csv")
    assert report.long_acting_U_day == pytest.approx(82 / 2)  # within the record
    assert frame_to_patient(patient_to_frame(ada), "Ada").doses.long_acting_U.tolist() == back.long_acting_U.tolist()


def test_a_table_of_a_person_on_pens_needs_no_rate(tmp_path: Path) -> None:
    file = tmp_path / "Ben.csv"
    rows = [f"{5 * i},{g:g},{20 if i == 12 else ''},," for i, g in enumerate(cases.course(288).tolist())]
    file.write_text("time_min,glucose_mg_dL,long_acting_U,bolus_U,carbs_g\n" + "\n".join(rows) + "\n")
    doses = read_cohort(file)["Ben"].doses
    assert doses.long_acting_time_min.tolist() == [60.0]
    assert read_recording(file).patient.doses.long_acting_U.tolist() == [20.0]


@pytest.mark.parametrize("times", [[0.0], [-600.0, 840.0], [300.0, 1740.0, 3180.0], [200.0, 500.0]])
def test_an_injection_delivers_its_units_and_no_more(times: list[float]) -> None:
    doses = Doses.of(long_acting=[(t, 20.0) for t in times])
    breaks, insulin, _ = doses.rates(-2000.0, 6000.0)
    given = float(np.sum(insulin * np.diff(np.append(breaks, 6000.0))))
    assert given == pytest.approx(20.0 * len(times), abs=1e-9)
    since, rate = doses.background
    assert float(np.sum(rate * np.diff(np.append(since, 6000.0)))) / 60 == pytest.approx(
        sum(20 * (min(t + 1440, 6000) - max(t, since[0])) / 1440 for t in times)
    )


# Readings twice


def test_every_reading_uploaded_twice_is_read_once(tmp_path: Path) -> None:
    for seconds in (7, 40, 100):
        late = cases.entries(first=2 + seconds / 60, device="loop")
        folder = cases.nightscout(tmp_path / f"s{seconds}", entries=[*cases.entries(), *late], profile=cases.PROFILE)
        report = inspect_file(folder)
        assert (report.readings, report.copies) == (576, 576), seconds
        assert about(report, "576 readings repeat")


def test_no_copy_of_a_fitted_reading_judges_the_fit() -> None:
    time = np.sort(np.concatenate([5.0 * np.arange(500), 5.0 * np.arange(500) + 7 / 60]))
    masks = split(time, np.full(1000, True))
    for mask in masks:
        assert (mask[::2] == mask[1::2]).all()
    # Without copies nothing changes: every tenth of the first nine tenths.
    held = np.flatnonzero(split(5.0 * np.arange(1000), np.full(1000, True)).held_out)
    assert held.tolist() == list(range(9, 899, 10)) or held.tolist() == list(range(9, 900, 10))


@pytest.mark.parametrize("named", [True, False])
def test_two_sensors_side_by_side(tmp_path: Path, named: bool) -> None:
    own = cases.entries(device="G6" if named else "")
    other = [{**x, "sgv": x["sgv"] + 45} for x in cases.entries(1, first=4, device="G7" if named else "", seed=2)]
    folder = cases.nightscout(tmp_path / "two", entries=[*own, *other], profile=cases.PROFILE, treatments=cases.meals())
    report = inspect_file(folder)
    if named:
        assert report.readings == 576
        assert report.other_sensors == 288
        assert about(report, "G6: 576", "G7: 288")
        assert inspect_file(folder, device="G7").readings == 288
    else:
        assert any("two sensors" in text for text in report.problems)
        halves = [inspect_file(folder, device=f"{i} of 2") for i in (1, 2)]
        assert all(not half.problems for half in halves)
        assert sum(half.readings or 0 for half in halves) == 864


@pytest.mark.parametrize("turn", [2, 3])
def test_every_third_row_of_another_sensor(tmp_path: Path, turn: int) -> None:
    rows = cases.course(576) + np.where(np.arange(576) % turn == 1, 40, 0)
    file = tmp_path / "turn.csv"
    file.write_text(
        "time,glucose\n" + "".join(f"{cases.at(5 * i):%Y-%m-%d %H:%M:%S},{g:g}\n" for i, g in enumerate(rows))
    )
    columns = "time=time,glucose=glucose"
    assert any("two sensors" in text for text in inspect_file(file, columns=columns).problems)
    counts = [inspect_file(file, columns=columns, device=f"{i} of 2").readings for i in (1, 2)]
    assert counts == ([288, 288] if turn == 2 else [384, 192])


# Coverage


def test_days_without_a_dose_on_record_are_told_and_not_averaged_over(tmp_path: Path) -> None:
    folder = cases.nightscout(tmp_path / "ns", entries=cases.entries(14), treatments=cases.meals(range(10, 14)),
                              profile=cases.PROFILE)  # fmt: skip
    report = inspect_file(folder)
    assert report.bolus_U_day == pytest.approx(17, rel=2e-3)
    assert report.days_covered == pytest.approx(4, abs=0.01)
    assert (report.days_readings, report.days_boluses, report.days_meals) == (14, 4, 4)
    assert about(report, "10.3 of 14 days")


@pytest.mark.parametrize("days", [400, -3000])
def test_a_stray_reading_makes_no_record_of_years(tmp_path: Path, days: int) -> None:
    stray = {"type": "sgv", "sgv": 111, "date": int(cases.at(1440 * days).timestamp() * 1000)}
    folder = cases.nightscout(tmp_path / "ns", entries=[*cases.entries(), stray], treatments=cases.meals(),
                              profile=cases.PROFILE)  # fmt: skip
    report = inspect_file(folder)
    assert report.span_h == pytest.approx(47.917, abs=0.01)
    assert report.bolus_U_day == pytest.approx(17, rel=5e-3)
    assert about(report, "1 reading", str(cases.at(1440 * days).year))


def test_holes_in_basal_are_summed(tmp_path: Path) -> None:
    pieces = [tide("basal", 60 * hour, deliveryType="automated", rate=2.0, duration=1_800_000) for hour in range(48)]
    report = inspect_file(cases.tidepool(tmp_path, cases.cbg(), pieces))
    assert about(report, "no basal is on record for 2", "48 holes")
    whole = [{**x, "duration": 3_600_000} for x in pieces]
    assert not about(inspect_file(cases.tidepool(tmp_path, cases.cbg(), whole)), "no basal is on record")


# Nothing is assumed in silence


def test_a_temporary_rate_of_days_is_remarked_on(tmp_path: Path) -> None:
    assert about(person(tmp_path, treatment(5, "Temp Basal", absolute=0.5, duration=100 * 60)), "72 h", "100 h")
    assert not about(person(tmp_path, treatment(5, "Temp Basal", absolute=0.5, duration=24 * 60)), "72 h")


def test_exchanges_have_a_size(tmp_path: Path) -> None:
    wizard = lambda day, hour, grams: tide(
        "wizard", 1440 * day + 60 * hour, carbInput=grams / 15, carbUnits="exchanges"
    )
    food = [wizard(day, hour, grams) for day in range(2) for hour, _, grams in cases.MEALS]
    file = cases.tidepool(tmp_path, cases.cbg(), food)
    assert about(inspect_file(file), "10 g", "assumed")
    for size, grams in ((10, 340 / 1.5), (12, 340 / 1.25), (15, 340)):
        report = inspect_file(file, carbs_unit=f"exchange-{size}g")
        assert report.carbs_g_day == pytest.approx(grams / DAYS)
        assert not about(report, "assumed")


@pytest.mark.parametrize("server", [True, False])
def test_seconds_are_no_milliseconds_and_the_upload_is_no_clock(tmp_path: Path, server: bool) -> None:
    more = {"sysTime": "2024-03-04T00:59:30.000Z"} if server else {}
    rows = [{**x, "date": x["date"] // 1000, **more} for x in cases.entries()]
    report = inspect_file(cases.nightscout(tmp_path / "ns", entries=rows, profile=cases.PROFILE))
    assert report.span_h == pytest.approx(47.917, abs=0.01)
    assert sum("seconds" in text for text in report.warnings) == 1


def test_a_date_that_is_none_is_one_problem_and_no_other_clock_is_taken(tmp_path: Path) -> None:
    rows = [{**x, "date": 7, "sysTime": cases.stamp(5)} for x in cases.entries()]
    report = inspect_file(cases.nightscout(tmp_path / "ns", entries=rows))
    assert len([text for text in report.problems if " records (1, 2, " in text]) == 1


# Collections


def test_answers_of_a_server_and_exports_of_its_database(tmp_path: Path) -> None:
    plain = inspect_file(cases.nightscout(tmp_path / "a", entries=cases.entries(), treatments=cases.meals(),
                                          profile=cases.PROFILE))  # fmt: skip
    answer = lambda rows: {"status": 200, "result": rows}
    long = lambda x: {**x, "_id": {"$oid": f"{x['date']:x}"}, "date": {"$numberLong": str(x["date"])}}
    for folder in (
        cases.nightscout(tmp_path / "b", entries=answer(cases.entries()), treatments=answer(cases.meals()),
                         profile=answer(cases.PROFILE)),
        cases.nightscout(tmp_path / "c", entries=[long(x) for x in cases.entries()], treatments=cases.meals(),
                         profile=cases.PROFILE),
        cases.nightscout(tmp_path / "d", entries=cases.entries(), treatments=cases.meals(), profile=cases.PROFILE,
                         devicestatus=[{"device": "phone", "created_at": cases.stamp(1), "pump": {"reservoir": 100}}],
                         activity=[{"created_at": cases.stamp(1), "heartrate": 80}], status={"status": "ok"},
                         food=[{"type": "food", "name": "bread", "carbs": 15, "unit": "g"}]),
    ):  # fmt: skip
        report = inspect_file(folder)
        same = dataclasses.replace(report, file=plain.file, subject=plain.subject, notes=plain.notes)
        assert same == plain
    assert about(report, "devicestatus.json")

"""What every physiology keeps, the package's three and one of a user's own; and what is said to one that does not."""

import csv
import dataclasses
import functools
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import t1djax
from t1djax.physics import (
    AbstractPhysiology,
    Doses,
    Facts,
    Hovorka,
    Kanderian,
    NoRestError,
    Parameter,
    PhysiologyError,
    check_physiology,
    count_steps,
    hovorka,
    kanderian,
    state,
    state_units,
)

from .bodies import Bergman, BergmanState, bergman

BODIES = {
    "magdelaine": t1djax.presets()["Pat3"].model,
    "kanderian": lambda: kanderian()["1"],
    "hovorka": hovorka,
    "bergman": bergman,
}
EVERY = pytest.mark.parametrize("name", list(BODIES))
TS = np.arange(0.0, 1441.0, 15.0)
DAY = {"boluses": [(475, 3.0), (781, 4.0, 90.0)], "meals": [(480, 40, 15), (777.5, 60)]}
ARRIVES = {
    # Of a unit (U) and of a gram (mg): the part of the integral of the last state that the equations say.
    "magdelaine": lambda p: (("I", p.ku_Vi), ("D", 1000 * p.kr_Vb)),
    "kanderian": lambda p: (("Ip", 1e6 / p.CI), ("RA", 1000 / p.VG)),
    "hovorka": lambda p: (("I", 1000 / (p.ke * p.VI * p.M)), ("D2", 1000 / 180.16 * p.AG * p.tau_G)),
    "bergman": lambda p: (("I", 1000 / (0.14 * 8.4)), ("q2", 1000 * p.tG)),
}


pytestmark = pytest.mark.usefixtures("float64")


@functools.cache
def body(name: str) -> AbstractPhysiology:
    return BODIES[name]()


_TIMES, _STEPS, _BREAKS = 1160, 2160, 40  # of every run here, so that each body is compiled once


@eqx.filter_jit
def _run(p: AbstractPhysiology, inputs: t1djax.physics.Inputs, ts: Any, y0: Any) -> t1djax.physics.Trajectory:
    return p.solution(inputs, ts, y0, steps=round(_STEPS * 5 / p.step_min))


def live(p: AbstractPhysiology, ts: Any = TS, *, y0: Any = None, **doses: Any) -> t1djax.physics.Trajectory:
    """From rest at 120 mg/dL under the basal rate that holds it, with these doses."""
    rest, basal = p.rest(120.0)
    inputs = Doses.of(**{"basal": float(basal), **doses}).inputs(0, float(ts[-1])).pad(_BREAKS)
    padded = jnp.asarray(np.pad(ts, (0, _TIMES - len(ts)), mode="edge"))
    path = _run(p, inputs, padded, rest if y0 is None else y0)
    few = lambda tree: jax.tree.map(lambda x: x[: len(ts)], tree)
    return t1djax.physics.Trajectory(few(path.time_min), few(path.state), few(path.glucose_mg_dL), path.ok)


@EVERY
def test_keeps_its_own_terms(name: str) -> None:
    check_physiology(body(name))


@EVERY
def test_rest_is_a_fixed_point_for_a_day(name: str) -> None:
    p = body(name)
    there = live(p)
    assert bool(there.ok)
    np.testing.assert_allclose(there.glucose_mg_dL, 120.0, atol=1e-6)
    first = jax.tree.map(lambda x: jnp.broadcast_to(x[0], x.shape), there.state)
    assert jax.tree.all(jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-6), there.state, first))


@EVERY
@pytest.mark.parametrize("minutes", [1.0, 90.0])
def test_mass_of_a_dose_arrives_whole(name: str, minutes: float) -> None:
    p, ts = body(name), np.arange(0.0, 2881.0, 2.5)
    given = live(p, ts, boluses=[(32.5, 2.0, minutes)], meals=[(32.5, 30.0, minutes)]).state
    usual = live(p, ts).state
    for (leaf, per_dose), dose in zip(ARRIVES[name](p), (2.0, 30.0), strict=True):
        area = scipy.integrate.simpson(getattr(given, leaf) - getattr(usual, leaf), x=ts)
        assert area == pytest.approx(dose * float(per_dose), rel=1e-3)


@EVERY
@pytest.mark.parametrize("at", [0.0, 473.0, 900.0])
def test_insulin_never_raises_and_carbohydrate_never_lowers_glucose(name: str, at: float) -> None:
    p = body(name)
    usual, more, fed = (
        np.asarray(live(p, **{k: DAY[k] + extra.get(k, []) for k in DAY}).glucose_mg_dL)
        for extra in ({}, {"boluses": [(at, 0.3)]}, {"meals": [(at, 3.0)]})
    )
    assert np.all(more - usual <= 1e-5)
    assert np.all(fed - usual >= -1e-5)
    assert np.min(more - usual) < -0.1
    assert np.max(fed - usual) > 0.1


@EVERY
def test_glucose_stays_positive_for_a_week_where_it_is_promised(name: str) -> None:
    p, ts = body(name), np.arange(0.0, 7 * 1440.0 + 1, 60.0)
    meals = [(1440 * day + t, 50.0) for day in range(2) for t in (450, 750, 1150)]
    far_too_much = [(t, 8.0) for t, _ in meals]
    week = live(p, ts, boluses=far_too_much, meals=meals[:3])
    assert bool(week.ok)
    if p.facts.stays_positive:
        assert np.min(week.glucose_mg_dL) > 0


@EVERY
def test_slopes_agree_with_differences(name: str) -> None:
    p = body(name)
    symbols, (rest, basal) = list(p.values()), p.rest(120.0)
    inputs = Doses.of(basal=float(basal), boluses=[(25, 3.0)], meals=[(30, 40, 15)]).inputs(0, 240)

    def level(logs: jax.Array) -> jax.Array:
        q = type(p).of(dict(zip(symbols, jnp.exp(logs), strict=True)))
        return jnp.mean(q.solution(inputs, jnp.asarray([60.0, 240.0]), rest, steps=64).glucose_mg_dL)

    at = jnp.log(jnp.stack(list(p.values().values())))
    h = 1e-5 * np.eye(len(symbols))
    ways = lambda at, h: (jax.jacfwd(level)(at), jax.vmap(lambda e: (level(at + e) - level(at - e)) / 2e-5)(h))
    forward, differences = jax.jit(ways)(at, h)
    np.testing.assert_allclose(forward, differences, rtol=1e-4, atol=1e-3)
    if name == "bergman":
        np.testing.assert_allclose(jax.jit(jax.grad(level))(at), forward, rtol=1e-8, atol=1e-8)


def test_solution_agrees_with_adaptive_steps() -> None:
    """Those of the package's own bodies are held against independent solvers, here and in `test_physics`."""
    p = bergman()
    rest, basal = p.rest(120.0)
    inputs = Doses.of(basal=float(basal), **DAY).inputs(0, 1440)
    adaptive = t1djax.simulate(p, inputs, jnp.asarray(TS), y0=rest)
    np.testing.assert_allclose(live(p, **DAY).glucose_mg_dL, adaptive.glucose_mg_dL, atol=1e-2)


@pytest.mark.parametrize("name", ["kanderian", "hovorka"])
def test_one_bad_person_spoils_no_other(name: str) -> None:
    p = body(name)
    rest, basal = p.rest(120.0)
    inputs = Doses.of(basal=float(basal), **DAY).inputs(0, 1440)
    broken = jax.tree.map(lambda x: x * jnp.nan, p)
    both = jax.tree.map(lambda *x: jnp.stack(x), p, broken)
    one = lambda q: q.solution(inputs, jnp.asarray(TS), rest, steps=count_steps(TS, inputs.break_min, p.step_min))
    found = jax.jit(jax.vmap(one))(both)
    assert found.ok.tolist() == [True, False]
    np.testing.assert_allclose(found.glucose_mg_dL[0], live(p, **DAY).glucose_mg_dL, rtol=1e-9)


@EVERY
def test_start_stands_under_the_insulin_in_force_or_at_rest(name: str) -> None:
    """Everything but glucose stands still, or all of it does."""
    p = body(name)
    y = p.start(jnp.asarray(180.0), jnp.asarray(0.01))
    assert float(p.glucose(y)) == pytest.approx(180.0)
    dy = p.rates(y, jnp.asarray(0.01), jnp.asarray(0.0))
    stands = [abs(float(getattr(dy, s))) < 1e-9 for s in (*p.facts.insulin_states, *p.facts.meal_states)]
    at_rest = p.rest(180.0)
    assert all(stands) or jax.tree.all(jax.tree.map(jnp.allclose, y, at_rest[0]))


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    rows = list(csv.DictReader((shared / "reference/golden_bodies.csv").read_text().splitlines()))
    return {
        name: np.array([[float(r["time_min"]), float(r["glucose_mg_dL"])] for r in rows if r["body"] == name])
        for name in {r["body"] for r in rows}
    }


@pytest.mark.parametrize("name", ["kanderian_1", "kanderian_7", "hovorka_mean"])
def test_a_day_as_an_independent_solver_has_it(golden: dict[str, np.ndarray], name: str) -> None:
    p = hovorka() if name == "hovorka_mean" else kanderian()[name.removeprefix("kanderian_")]
    ts, G = golden[name].T
    meals, boluses = [(480, 50), (780, 70), (1140, 60)], [(480, 4), (780, 5), (1140, 5)]
    path = live(p, ts, boluses=boluses, meals=meals)
    np.testing.assert_allclose(path.glucose_mg_dL, G, atol=1e-2 if isinstance(p, Hovorka) else 1e-3)


def test_a_day_of_the_first_person_as_an_independent_solver_has_it() -> None:
    """The same without the folder of references: three of its numbers."""
    ts = np.array([0.0, 510.0, 540.0, 900.0, 1140.0])
    path = live(kanderian()["1"], ts, boluses=[(480, 4), (780, 5), (1140, 5)], meals=[(480, 50), (780, 70), (1140, 60)])
    expected = [120.0, 140.365087241, 159.783837307, 149.405972789, 100.399434551]
    np.testing.assert_allclose(path.glucose_mg_dL, expected, atol=1e-3)


SETTINGS = {
    # Basal rate (U/h), fall of glucose per unit (mg/dL) and when (min), rise per gram: from rest, by 0.1 U and by 1 g.
    "1": (1.321, 13.7, 202, 1.58), "2": (0.494, 4.5, 190, 2.17), "3": (0.638, 20.3, 212, 2.23),
    "4": (2.352, 6.7, 299, 1.37), "5": (0.301, 7.0, 253, 3.01), "6": (0.344, 34.8, 261, 5.43),
    "7": (0.923, 15.8, 238, 1.66), "8": (0.954, 20.4, 231, 2.95), "9": (0.860, 8.2, 236, 2.12),
    "10": (0.528, 23.5, 263, 2.75), "hovorka": (0.384, 79.2, 269, 4.22),
}  # fmt: skip


@pytest.mark.parametrize("who", list(SETTINGS))
def test_settings_from_rest(who: str) -> None:
    p, G0 = (hovorka(), 110.0) if who == "hovorka" else (kanderian()[who], 120.0)
    ts = np.arange(0.0, 481.0, 1.0)
    y0, basal = p.rest(G0)
    basal_U_h, fall, when, rise = SETTINGS[who]
    given = live(p, ts, y0=y0, basal=float(basal), boluses=[(0, 0.1)]).glucose_mg_dL - G0
    fed = live(p, ts, y0=y0, basal=float(basal), meals=[(0, 1.0)]).glucose_mg_dL - G0
    assert float(basal) == pytest.approx(basal_U_h, abs=6e-4)
    assert -10 * float(jnp.min(given)) == pytest.approx(fall, abs=0.06)
    assert int(jnp.argmin(given)) == pytest.approx(when, abs=3)
    assert float(jnp.max(fed)) == pytest.approx(rise, abs=6e-3)


@pytest.mark.parametrize(("who", "settles"), [("2", 137.0), ("5", 138.6), ("9", 198.7)])
def test_nobody_rests_above_the_glucose_at_no_insulin(who: str, settles: float) -> None:
    with pytest.raises(NoRestError, match=f"{settles:.0f}"):
        kanderian()[who].rest(settles + 1)
    kanderian()[who].rest(settles - 1)


def test_hovorka_does_not_rest_where_the_kidneys_take_all() -> None:
    with pytest.raises(NoRestError, match="kidneys"):
        hovorka().rest(500.0)


def test_traced_times_need_a_number_of_steps() -> None:
    p = kanderian()["1"]
    y0, basal = p.rest(120.0)
    inputs = Doses.of(basal=float(basal)).inputs(0, 60)
    with pytest.raises(ValueError, match="steps"):
        jax.jit(lambda ts: p.solution(inputs, ts, y0).glucose_mg_dL)(jnp.asarray([0.0, 60.0]))


def test_too_little_room_for_steps_is_not_ok() -> None:
    p = kanderian()["1"]
    y0, basal = p.rest(120.0)
    inputs = Doses.of(basal=float(basal)).inputs(0, 1440)
    ok = lambda room: bool(p.solution(inputs, jnp.asarray([0.0, 1440.0]), y0, steps=room).ok)
    assert (ok(287), ok(288)) == (False, True)


class Unmeasured(eqx.Module):
    X: jax.Array
    G: jax.Array = state("mg/dL")
    s1: jax.Array = state("mU")
    s2: jax.Array = state("mU")
    I: jax.Array = state("mU/L")
    q1: jax.Array = state("mg")
    q2: jax.Array = state("mg")


@dataclasses.dataclass
class Plain:
    G: Any


class NoUnit(Bergman):
    parameters: ClassVar = {**Bergman.parameters, "SG": dataclasses.replace(Bergman.parameters["SG"], unit="")}


class NoRow(Bergman):
    parameters: ClassVar = {s: row for s, row in Bergman.parameters.items() if s != "SG"}


class NoStateUnit(Bergman):
    States: ClassVar[Any] = Unmeasured


class NoTree(Bergman):
    States: ClassVar[Any] = Plain


class Restless(Bergman):
    def steady(self, glucose_mg_dL: jax.Array) -> tuple[BergmanState, jax.Array]:
        y, basal = super().steady(glucose_mg_dL)
        return y, 1.5 * basal


class GivesDict(Bergman):
    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> Any:
        return vars(super().rates(y, insulin_U_min, carbs_mg_min))


class GivesVector(Bergman):
    def scales(self) -> BergmanState:
        return eqx.tree_at(lambda y: y.X, super().scales(), jnp.ones(2))


class SaysLinear(Bergman):
    facts: ClassVar[Facts] = dataclasses.replace(Bergman.facts, linear=True)


class SaysDoses(Bergman):
    facts: ClassVar[Facts] = dataclasses.replace(Bergman.facts, insulin_states=("s1", "s2", "I", "X", "G"))


def with_facts(**stated: Any) -> type[Bergman]:
    class Stated(Bergman):
        facts: ClassVar[Facts] = dataclasses.replace(Bergman.facts, **stated)

    return Stated


class FarStart(Bergman):
    parameters: ClassVar = {**Bergman.parameters, "SG": dataclasses.replace(Bergman.parameters["SG"], start_low=8.0,
                                                                            start_high=16.0)}  # fmt: skip


class GivesNan(Bergman):
    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> BergmanState:
        return eqx.tree_at(lambda y: y.X, super().rates(y, insulin_U_min, carbs_mg_min), jnp.sqrt(-y.X))


class StartsElsewhere(Bergman):
    def start(self, glucose_mg_dL: jax.Array, insulin_U_min: jax.Array) -> BergmanState:
        return self.steady(jnp.asarray(100.0))[0]


class ReadsInsulin(Bergman):
    def glucose(self, y: BergmanState) -> jax.Array:
        return y.G + 1e-3 * (y.I - self.steady(y.G)[0].I)


class CountsFromBasal(Bergman):
    """Remote insulin as a deviation, as the textbook has it: below zero without insulin."""

    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> BergmanState:
        return super().rates(dataclasses.replace(y, X=y.X + 0.001), insulin_U_min, carbs_mg_min)

    def steady(self, glucose_mg_dL: jax.Array) -> tuple[BergmanState, jax.Array]:
        y, basal = super().steady(glucose_mg_dL)
        return dataclasses.replace(y, X=y.X - 0.001), basal


class TooFast(Bergman):
    """Insulin leaves plasma ten times as fast, where steps are of 5 min."""

    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> BergmanState:
        dy = super().rates(y, insulin_U_min, carbs_mg_min)
        return dataclasses.replace(dy, I=10 * dy.I)


class Falls(Bergman):
    """Insulin takes as much whatever glucose is there."""

    def rates(self, y: BergmanState, insulin_U_min: Any, carbs_mg_min: Any) -> BergmanState:
        taken = y.X * (y.G - 120)
        return eqx.tree_at(lambda y: y.G, super().rates(y, insulin_U_min, carbs_mg_min),
                           super().rates(y, insulin_U_min, carbs_mg_min).G + taken)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (with_facts(sensitivity="nope"), "nope"),
        (with_facts(followed={"nope": (1.0, 0.3)}), "nope"),
        (with_facts(learnt=("X",), insulin_states=("s1", "s2", "I")), "`learnt` lacks G"),
        (with_facts(learnt=("nope",)), "nope"),
        (FarStart, "SG"),
        (GivesNan, "`rates` gives X"),
        (StartsElsewhere, "`start`"),
        (ReadsInsulin, "`glucose`"),
        (Falls, "stays positive"),
        (NoUnit, "SG has no unit"),
        (NoRow, "field SG"),
        (NoStateUnit, "state X has no unit"),
        (NoTree, "no pytree"),
        (Restless, "does not rest"),
        (GivesDict, "`rates` gives dict"),
        (GivesVector, "`scales` gives X"),
        (SaysLinear, "linear"),
        (SaysDoses, "insulin alone"),
        (CountsFromBasal, "count from zero"),
        (TooFast, "step_min"),
    ],
)
def test_class_that_breaks_its_terms_is_told_which(wrong: type[Bergman], part: str) -> None:
    with pytest.raises(PhysiologyError, match=part):
        check_physiology(wrong(**bergman().values()))


@pytest.mark.parametrize("cls", [t1djax.Magdelaine, Kanderian, Hovorka])
def test_typical_people_of_a_table_rest(cls: type[AbstractPhysiology]) -> None:
    rows: dict[str, Parameter] = dict(cls.parameters)
    values = {s: np.sqrt(row.start_low * row.start_high) for s, row in rows.items() if s != "G0"}
    values.pop("kb", None)
    check_physiology(cls.of(values), glucose_mg_dL=110.0)
    assert all(state_units(cls.States).values())


def test_missing_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="tauM"):
        Kanderian.of({s: v for s, v in kanderian()["1"].values().items() if s != "tauM"})

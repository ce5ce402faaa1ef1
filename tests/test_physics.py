"""The physics against oracles that share no code with it: the paper's five-state form, stepped by SciPy's `expm`."""

import csv
import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import diffrax
import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.linalg

import t1djax
from t1djax import Doses, Magdelaine
from t1djax.physics import Inputs, SecondOrderState, State

SYMBOLS = tuple(field.name for field in dataclasses.fields(Magdelaine))
PRESETS = tuple(t1djax.presets())
QUICK = hypothesis.settings(max_examples=30, deadline=None, derandomize=True, database=None)

pytestmark = pytest.mark.usefixtures("strict_jax", "float64")


class Protocol(NamedTuple):
    """Doses as plain tuples, for `Doses.of` and for the oracle alike."""

    basal: Sequence[tuple[float, float]]
    boluses: Sequence[tuple[float, float, float]]
    meals: Sequence[tuple[float, float, float]]

    def doses(self) -> Doses:
        return Doses.of(basal=self.basal, boluses=self.boluses, meals=self.meals)

    def given(self, start: float, stop: float) -> tuple[float, float]:
        """Insulin (U) and carbohydrate (g) between two times, event by event."""
        edges = [start, *(t for t, _ in self.basal if start < t < stop), stop]
        basal = sum((b - a) * self.rate_at(a) / 60 for a, b in itertools.pairwise(edges))
        overlap = lambda t, length: max(0.0, min(t + length, stop) - max(t, start)) / length
        return (
            basal + sum(amount * overlap(t, length) for t, amount, length in self.boluses),
            sum(amount * overlap(t, length) for t, amount, length in self.meals),
        )

    def rate_at(self, t: float) -> float:
        stated = [rate for since, rate in self.basal if since <= t]
        return stated[-1] if stated else self.basal[0][1]

    def edges(self) -> list[float]:
        events = [*self.boluses, *self.meals]
        return [t for t, _ in self.basal] + [t for t, _, _ in events] + [t + length for t, _, length in events]


BUSY = Protocol(
    basal=[(0.0, 1.1), (310.0, 0.7), (312.5, 1.6), (900.0, 0.9)],
    boluses=[(-30.0, 4.0, 60.0), (100.0, 6.0, 1.0), (100.0, 3.0, 240.0), (250.25, 2.0, 7.5), (1190.0, 5.0, 30.0)],
    meals=[(-5.0, 20.0, 25.0), (90.0, 60.0, 20.0), (100.0, 15.0, 1.0), (700.0, 45.0, 0.5), (1200.0, 80.0, 10.0)],
)
"""Extended, overlapping, fractional, and reaching over both ends of the window [0, 1200)."""


def paper_states(p: Magdelaine, protocol: Protocol, ts: np.ndarray, x0: np.ndarray) -> np.ndarray:
    """(G, I, I', D, D') of the paper at `ts` from `ts[0]` on, by the matrix exponential of its companion form."""
    ksi, kl, kb, Tu, ku_Vi, Tr, kr_Vb = (
        float(getattr(p, s)) for s in ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")
    )
    A = np.zeros((6, 6))
    A[0, [1, 3, 5]] = -ksi, 1.0, kl - kb
    A[1, 2], A[2, 1], A[2, 2] = 1.0, -1 / Tu**2, -2 / Tu
    A[3, 4], A[4, 3], A[4, 4] = 1.0, -1 / Tr**2, -2 / Tr
    knots = np.unique(np.concatenate([ts, [t for t in protocol.edges() if ts[0] < t < ts[-1]]]))
    states = {float(ts[0]): x0}
    x = np.append(x0, 1.0)
    for a, b in itertools.pairwise(knots):
        insulin, carbs = protocol.given(a, b)
        A[2, 5] = ku_Vi / Tu**2 * insulin / (b - a)
        A[4, 5] = kr_Vb / Tr**2 * 1000 * carbs / (b - a)
        x = scipy.linalg.expm(A * (b - a)) @ x
        states[float(b)] = x[:5]
    return np.stack([states[float(t)] for t in ts])


def at_rest(p: Magdelaine, G0: float) -> np.ndarray:
    return np.array([G0, float((p.kl - p.kb) / p.ksi), 0.0, 0.0, 0.0])


def columns(x: SecondOrderState | State) -> np.ndarray:
    return np.stack([np.asarray(getattr(x, field.name)) for field in dataclasses.fields(x)], axis=-1)


def patient(name: str) -> tuple[Magdelaine, Inputs, jax.Array]:
    preset = t1djax.presets()[name]
    return preset.model(), preset.doses.inputs(preset.start_min, preset.end_min), jnp.asarray(preset.parameters["G0"])


def cohort() -> tuple[Magdelaine, Inputs, jax.Array]:
    each = [patient(name) for name in PRESETS]
    length = max(len(inputs.break_min) for _, inputs, _ in each)
    padded = [(p, inputs.pad(length), G0) for p, inputs, G0 in each]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)


GRID = np.arange(0.0, 2881.0, 15.0)
"""Times of the golden states, min."""


@functools.cache
def single(solve):
    """One patient from a given state, compiled once per shape."""
    return jax.jit(lambda p, inputs, ts, y0: solve(p, inputs, ts, y0=y0))


@functools.cache
def batched(solve):
    """The cohort as one compiled program, which the tests share."""
    return jax.jit(jax.vmap(lambda p, inputs, G0, ts: solve(p, inputs, ts, G0=G0), in_axes=(0, 0, 0, None)))


# Trajectories


@pytest.mark.parametrize(("solve", "tolerance_mg_dL"), [(t1djax.propagate, 1e-6), (t1djax.simulate, 1e-3)])
def test_golden_states(solve, tolerance_mg_dL: float, shared: Path) -> None:
    with (shared / "reference" / "golden_states.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    solution = batched(solve)(*cohort(), jnp.asarray(GRID))
    assert np.asarray(solution.ok).all()
    for i, name in enumerate(PRESETS):
        golden = np.array([[float(x) for x in row[1:]] for row in rows if row[0] == name])
        assert np.array_equal(golden[:, 0], GRID)
        states = columns(solution.state)[i]
        assert np.abs(states[:, 0] - golden[:, 1]).max() < tolerance_mg_dL
        golden = golden[:, [1, 3, 2, 5, 4]]  # the file has (G, I, S, E, D) with each lag after its state
        assert (np.abs(states - golden) / np.abs(golden).max(axis=0)).max() < tolerance_mg_dL / 100


@pytest.mark.parametrize("at_start", ["rest", "on board"])
@pytest.mark.parametrize("name", ["Pat2", "Pat3"])
def test_exact_and_solved_against_the_paper(name: str, at_start: str) -> None:
    p, _, _ = patient(name)
    random = np.random.default_rng(7)
    ts = np.sort(np.concatenate([[0.0, 1200.0, 100.0, 101.0], random.uniform(0.0, 1200.0, 60)]))
    x0 = at_rest(p, 140.0)
    if at_start == "on board":
        x0 += [0.0, 4e-3, 2e-5, 1.2, -3e-3]
    expected = paper_states(p, BUSY, ts, x0)
    inputs = BUSY.doses().inputs(0.0, 1200.0)
    y0 = t1djax.physics.from_second_order(p, SecondOrderState(*(jnp.asarray(x) for x in x0)))
    exact = single(t1djax.propagate)(p, inputs, jnp.asarray(ts), y0)
    solved = single(t1djax.simulate)(p, inputs, jnp.asarray(ts), y0)
    scale = np.abs(expected).max(axis=0)
    for trajectory, tolerance in ((exact, 1e-10), (solved, 1e-5)):
        error = np.abs(columns(t1djax.physics.to_second_order(p, trajectory.state)) - expected) / scale
        assert error.max() < tolerance


def test_solver_options_are_used() -> None:
    p, inputs, G0 = patient("Pat3")
    ts = jnp.asarray(GRID)
    exact = t1djax.propagate(p, inputs, ts, G0=G0).glucose_mg_dL
    error = lambda **options: np.abs(t1djax.simulate(p, inputs, ts, G0=G0, **options).glucose_mg_dL - exact).max()
    with pytest.raises(ValueError, match="adaptive"):  # a fixed step that ends on a jump reads the next rate
        error(solver=diffrax.Heun(), stepsize_controller=diffrax.StepTo(ts=ts))
    assert not bool(t1djax.simulate(p, inputs, ts, G0=G0, max_steps=8).ok)


@pytest.mark.parametrize("solve", [t1djax.propagate, pytest.param(t1djax.simulate, marks=pytest.mark.slow)])
def test_reports_from_the_start_of_a_window_that_is_not_zero(solve) -> None:
    p, _, _ = patient("Pat3")
    ts = np.linspace(95.0, 800.0, 40)
    solution = solve(p, BUSY.doses().inputs(95.0, 800.0), jnp.asarray(ts), G0=150.0)
    expected = paper_states(p, BUSY, ts, at_rest(p, 150.0))
    np.testing.assert_allclose(solution.glucose_mg_dL, expected[:, 0], atol=1e-4)
    assert float(solution.glucose_mg_dL[0]) == 150.0


@pytest.mark.parametrize(
    ("solve", "bound_mg_dL"), [(t1djax.propagate, 0.01), pytest.param(t1djax.simulate, 0.2, marks=pytest.mark.slow)]
)
def test_float32_error_is_bounded(solve, bound_mg_dL: float) -> None:
    """Single precision over 48 h of the reference cohort."""
    reference = batched(t1djax.propagate)(*cohort(), jnp.asarray(GRID)).glucose_mg_dL
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (*cohort(), jnp.asarray(GRID)))
    glucose = batched(solve)(*single).glucose_mg_dL
    assert glucose.dtype == jnp.float32
    assert np.abs(np.asarray(glucose, np.float64) - reference).max() < bound_mg_dL


# Equations


def random_point(seed: int) -> tuple[Magdelaine, SecondOrderState, float, float]:
    random = np.random.default_rng(seed)
    p = Magdelaine(**{s: random.uniform(t1djax.PARAMETERS[s].low, t1djax.PARAMETERS[s].high) for s in SYMBOLS})
    x = SecondOrderState(*(jnp.asarray(random.normal() * s) for s in (100.0, 1e-2, 1e-4, 3.0, 1e-1)))
    return p, x, random.uniform(0, 5), random.uniform(0, 5e4)


@pytest.mark.parametrize("seed", range(3))
def test_second_order_rates_are_the_papers(seed: int) -> None:
    p, x, u, r = random_point(seed)
    dx = t1djax.physics.second_order_rates(p, x, u, r)
    np.testing.assert_allclose(dx.G, -p.ksi * x.I + p.kl - p.kb + x.D, rtol=1e-12)
    np.testing.assert_allclose(dx.I, x.dI, rtol=1e-10)
    np.testing.assert_allclose(dx.dI + 2 / p.Tu * x.dI + x.I / p.Tu**2, p.ku_Vi * u / p.Tu**2, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(dx.D, x.dD, rtol=1e-10)
    np.testing.assert_allclose(dx.dD + 2 / p.Tr * x.dD + x.D / p.Tr**2, p.kr_Vb * r / p.Tr**2, rtol=1e-10, atol=1e-12)
    back = t1djax.physics.to_second_order(p, t1djax.physics.from_second_order(p, x))
    np.testing.assert_allclose(columns(back), columns(x), rtol=1e-10)


def test_brain_use_follows_body_mass() -> None:
    known = {s: t1djax.presets()["Pat2"].parameters[s] for s in SYMBOLS if s != "kb"}
    assert float(Magdelaine.from_mass(M=64, **known).kb) == 2.0


def test_equilibrium_stands_still() -> None:
    p, _, _ = patient("Pat3")
    ts = jnp.linspace(0.0, 2880.0, 50)
    inputs = Doses.of(basal=float(p.equilibrium_basal_U_h)).inputs(0.0, 2880.0)
    np.testing.assert_allclose(t1djax.propagate(p, inputs, ts, G0=120.0).glucose_mg_dL, 120.0, atol=1e-9)


def test_residual_of_the_exact_solution_is_zero() -> None:
    p, _, _ = patient("Pat3")
    inputs = BUSY.doses().inputs(0.0, 1200.0)
    h = 1e-3
    middle = np.asarray(inputs.break_min[:-1] + jnp.diff(inputs.break_min) / 2)
    y0 = t1djax.physics.steady_state(p, 150.0)
    at = lambda ts: single(t1djax.propagate)(p, inputs, jnp.asarray(ts), y0).state
    dy = jax.tree.map(lambda after, before: (after - before) / (2 * h), at(middle + h), at(middle - h))
    missed = t1djax.physics.residual(p, at(middle), dy, *inputs.at(jnp.asarray(middle)))
    assert (np.abs(columns(missed)) / np.abs(columns(dy)).max(axis=0)).max() < 1e-6
    wrong = t1djax.physics.residual(
        eqx.tree_at(lambda p: p.ksi, p, p.ksi * 1.01), at(middle), dy, *inputs.at(jnp.asarray(middle))
    )
    np.testing.assert_allclose(wrong.G - missed.G, 0.01 * p.ksi * at(middle).I, rtol=1e-9)


def test_two_symmetries_leave_glucose_alone() -> None:
    """What glucose cannot tell: (ksi, I, ku_Vi) -> (ksi/a, a I, a ku_Vi) and (kl, kb) -> (kl + d, kb + d)."""
    p, inputs, G0 = patient("Pat3")
    run = single(t1djax.propagate)
    glucose = lambda p: np.asarray(run(p, inputs, jnp.asarray(GRID), t1djax.physics.steady_state(p, G0)).glucose_mg_dL)
    change = lambda **new: dataclasses.replace(p, **new)
    np.testing.assert_allclose(glucose(change(ksi=p.ksi / 1.7, ku_Vi=p.ku_Vi * 1.7)), glucose(p), atol=1e-9)
    np.testing.assert_allclose(glucose(change(kl=p.kl + 0.3, kb=p.kb + 0.3)), glucose(p), atol=1e-9)
    assert np.abs(glucose(change(ksi=p.ksi / 1.7)) - glucose(p)).max() > 10


# Derivatives


@functools.cache
def objective(solve):
    """A weighted sum of glucose as a function of all parameters and G0, its gradient, and where to take it."""
    p, inputs, G0 = patient("Pat3")
    ts = jnp.linspace(0.0, 2880.0, 25)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=25))

    def value(free: dict[str, jax.Array]) -> jax.Array:
        model = Magdelaine(**{s: free[s] for s in SYMBOLS})
        return jnp.sum(weights * solve(model, inputs, ts, G0=free["G0"]).glucose_mg_dL)

    return jax.jit(value), jax.jit(jax.grad(value)), {s: getattr(p, s) for s in SYMBOLS} | {"G0": G0}


def test_gradient_against_finite_differences() -> None:
    value, gradient, at = objective(t1djax.propagate)
    for symbol, x in at.items():
        h = 1e-4 * x
        numeric = (value({**at, symbol: x + h}) - value({**at, symbol: x - h})) / (2 * h)
        np.testing.assert_allclose(gradient(at)[symbol], numeric, rtol=1e-5, err_msg=symbol)


@pytest.mark.slow
def test_gradient_through_diffrax_is_the_exact_one() -> None:
    _, exact, at = objective(t1djax.propagate)
    _, solved, _ = objective(t1djax.simulate)
    for symbol, expected in exact(at).items():
        np.testing.assert_allclose(solved(at)[symbol], expected, rtol=1e-5, err_msg=symbol)


# Cohorts


@pytest.mark.parametrize("solve", [t1djax.propagate, pytest.param(t1djax.simulate, marks=pytest.mark.slow)])
def test_vmap_equals_loop(solve) -> None:
    """And padding the inputs, which the batch needs, changes nothing."""
    ts = jnp.asarray(GRID)
    together = batched(solve)(*cohort(), ts)
    assert together.ok.shape == (len(PRESETS),)
    for i in (0, 1, 9):
        p, inputs, G0 = patient(PRESETS[i])
        alone = single(solve)(p, inputs, ts, t1djax.physics.steady_state(p, G0))
        np.testing.assert_allclose(columns(together.state)[i], columns(alone.state), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("absurd", [{"ksi": np.nan}, {"Tu": 0.0}, {"kl": np.inf}, {"G0": np.nan}])
@pytest.mark.parametrize("solve", [t1djax.propagate, t1djax.simulate])
def test_one_bad_patient_spoils_no_other(solve, absurd: dict[str, float]) -> None:
    p, inputs, G0 = cohort()
    good = batched(solve)(p, inputs, G0, jnp.asarray(GRID))
    bad_p = dataclasses.replace(p, **{s: getattr(p, s).at[3].set(x) for s, x in absurd.items() if s != "G0"})
    bad_G0 = G0.at[3].set(absurd.get("G0", G0[3]))
    bad = batched(solve)(bad_p, inputs, bad_G0, jnp.asarray(GRID))
    others = np.arange(len(PRESETS)) != 3
    assert np.asarray(good.ok).all()
    assert np.array_equal(np.asarray(bad.ok), others)
    assert columns(bad.state)[others].tobytes() == columns(good.state)[others].tobytes()


# Doses


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0, 7.0])
def test_delivered_is_the_dose_on_any_grid(step: float) -> None:
    inputs = BUSY.doses().inputs(0.0, 1200.0)
    ts = np.arange(0.0, 1200.0 + step / 2, step)
    delivered = np.stack([np.asarray(x) for x in inputs.delivered(jnp.asarray(ts))], axis=1)
    whole = Protocol(BUSY.basal, BUSY.boluses, BUSY.meals[:-1])  # the meal at minute 1200 lies outside
    in_cells = np.array([whole.given(a, b) for a, b in itertools.pairwise(ts)])
    assert np.abs(np.diff(delivered, axis=0) - in_cells).max() < 1e-9
    assert np.abs(delivered[-1] - whole.given(0.0, ts[-1])).max() < 1e-9


@pytest.mark.parametrize("name", PRESETS)
def test_protocols_deliver_their_doses(name: str) -> None:
    preset = t1djax.presets()[name]
    doses = preset.doses
    _, inputs, _ = patient(name)
    insulin, carbs = inputs.delivered(jnp.asarray([preset.start_min, preset.end_min]))
    ends = np.append(doses.basal_time_min, np.inf).clip(max=preset.end_min)
    basal = float(np.sum(np.diff(ends) * doses.basal_U_h) / 60)
    inside = lambda t: t < preset.end_min
    assert abs(float(insulin[1]) - basal - doses.bolus_U[inside(doses.bolus_time_min)].sum()) < 1e-9
    assert abs(float(carbs[1]) - doses.carbs_g[inside(doses.meal_time_min)].sum()) < 1e-9


times = st.floats(-200, 1000, allow_nan=False).map(lambda t: round(t, 2))
events = st.lists(st.tuples(times, st.floats(0, 30), st.sampled_from([0.5, 1.0, 15.0, 240.0])), max_size=5)
basals = st.lists(st.tuples(times, st.floats(0, 4)), min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(sorted)


@QUICK
@hypothesis.given(basal=basals, boluses=events, meals=events, start=st.sampled_from([-50.0, 0.0, 33.3]))
def test_any_doses_are_delivered_whole(basal, boluses, meals, start: float) -> None:
    end = 700.0
    protocol = Protocol(basal, boluses, meals)
    with jax.enable_x64(True):
        inputs = protocol.doses().inputs(start, end).pad(32)
        assert np.all(np.diff(inputs.break_min) >= 0)
        assert np.all(np.asarray(inputs.insulin_U_min) >= 0)
        delivered = inputs.delivered(jnp.asarray([start, 250.0, end]))
        seen = np.stack([np.asarray(x) for x in delivered])
    for i, t in enumerate([start, 250.0, end]):
        assert np.abs(seen[:, i] - protocol.given(start, t)).max() < 1e-9


def test_rates_at_a_jump_are_those_that_begin() -> None:
    inputs = Doses.of(basal=[(0, 1.2), (60, 0.6)], boluses=[(60, 3, 2)], meals=[(30, 10)]).inputs(0, 120)
    seen = [[float(x) for x in inputs.at(t)] for t in (0.0, 30.0, 31.0, 60.0, 62.0, 1e4)]
    basal = 0.6 / 60
    expected = [[0.02, 0], [0.02, 1e4], [0.02, 0], [basal + 1.5, 0], [basal, 0], [basal, 0]]
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


def test_equal_rates_make_no_jump() -> None:
    inputs = Doses.of(basal=[(0, 1.0), (60, 1.0), (90, 1.0)]).inputs(0, 120)
    assert inputs.break_min.shape == (1,)


def test_padding_cannot_shorten() -> None:
    with pytest.raises(ValueError):
        Doses.of(basal=[(0, 1.0), (60, 2.0)]).inputs(0, 120).pad(1)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"basal": -1.0}, "basal_U_h"),
        ({"basal": np.nan}, "basal_U_h"),
        ({"basal": []}, "basal"),
        ({"basal": [(60, 1.0), (0, 1.0)]}, "basal_time_min"),
        ({"basal": [(0, 1.0), (0, 2.0)]}, "basal_time_min"),
        ({"boluses": [(0, -2.0)]}, "bolus_U"),
        ({"boluses": [(0, 2.0, 0.0)]}, "bolus_duration_min"),
        ({"boluses": [(np.inf, 2.0)]}, "bolus_time_min"),
        ({"meals": [(0, -20.0)]}, "carbs_g"),
        ({"meals": [(0, np.nan)]}, "carbs_g"),
        ({"meals": [(np.nan, 20.0)]}, "meal_time_min"),
        ({"meals": [(0, 20.0, -5.0)]}, "meal_duration_min"),
    ],
)
def test_errors_name_the_field(fields: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        Doses.of(**fields)


def test_columns_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users see it, whose annotations nobody checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ValueError, match="bolus_time_min, bolus_U, bolus_duration_min differ in length"):
        Doses(one, one, two, one, two, one, one, one)


def test_window_must_end_after_it_starts() -> None:
    with pytest.raises(ValueError, match=r"ends \(10"):
        Doses.of(basal=1.0).inputs(10.0, 10.0)

"""A body with disturbances and a sensor, as a Gaussian state-space form of one record."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._body import CHANNELS, FOOD, INSULIN, Unit, coupling, flow, settled
from ._exponential import discrete, exponential, kalman_spread
from ._hyper import Form, Layout, layout, meal_names
from ._person import Person
from ._steps import MINUTES_PER_DAY, Steps


class Matrices(NamedTuple):
    """The exact step over each of some lengths of time."""

    transition: Float[Array, "lengths core core"]
    """Of the core states."""
    noise: Float[Array, "lengths core core"]
    """Covariance that the step adds."""
    response: Float[Array, "lengths 2 driven inputs"]
    """Of glucose (and its sensor) to a unit of effect: to the lags of insulin, or food, and to what comes in."""
    lags: Float[Array, "lengths 2 lags inputs"]
    """Of the lags to themselves and to what comes in."""


def matrices(h: Mapping[str, Array], unit: Unit, form: Form, dt_min: Float[Array, " lengths"]) -> Matrices:
    """Exact discretisation of what is linear over steps of `dt_min`.

    ```
    G'  = f(G, doses) - f(level, nothing) + c + fast + slow + rhythm + walk w0
    Gi' = (G - Gi)/Ts                                            with a sensor lag
    fast' = -fast/fast_min + sqrt(2/fast_min) sd w1              slow, and the sensor's error, alike
    ```

    `f` is the body's; where it is linear it is part of the step, else `flow` takes it between two halves.
    """
    A, spectral = system(h, unit, form)
    F, Q = jax.vmap(lambda dt: discrete(A, spectral, dt))(dt_min)
    m, n = layout(form).driven if form.exact else 0, unit.push.shape[1]
    rows = coupling(unit, form)[1] if form.exact else jnp.zeros((2, n))

    def chain(lag: Array, push: Array, row: Array) -> Float[Array, "lengths states states"]:
        B = jnp.zeros((m + n + 1, m + n + 1)).at[:m, :m].set(A[:m, :m]).at[:1, m : m + n].set(row if m else 0.0)
        B = B.at[m : m + n, m : m + n].set(lag).at[m : m + n, -1].set(push)
        return jax.vmap(lambda dt: exponential(B, dt))(dt_min)

    both = jnp.swapaxes(jax.vmap(chain)(unit.lag, unit.push, rows), 0, 1)
    return Matrices(F, Q, both[..., :m, m:], both[..., m : m + n, m:])


class Spans(NamedTuple):
    """What steps over some lengths of time take."""

    whole: Matrices
    """Over each length."""
    half: Matrices | None
    """Over half of it, where steps are not exact."""


def spans(h: Mapping[str, Array], unit: Unit, form: Form, dt_min: Float[Array, " lengths"]) -> Spans:
    """The matrices over each length: all that a program needs at once, since each call is compiled."""
    if form.exact:
        return Spans(matrices(h, unit, form, dt_min), None)
    both = matrices(h, unit, form, jnp.concatenate([dt_min, dt_min / 2]))
    n = len(dt_min)
    return Spans(jax.tree.map(lambda x: x[:n], both), jax.tree.map(lambda x: x[n:], both))


def system(h: Mapping[str, Array], unit: Unit, form: Form) -> tuple[Float[Array, "core core"], Float[Array, " core"]]:
    """Rates of the core states, and the spectral density of the noise on each."""
    where, options = layout(form), form.options
    n, at = where.core, where.at
    back = coupling(unit, form)[0] if form.exact else jnp.zeros(())
    rates: dict[tuple[int, ...], Any] = {(0, 0): back - h.get("k", 0.0), (0, at("c")): 1.0}
    noise: dict[tuple[int, ...], Any] = {(0,): h["walk"] ** 2}
    if options.sensor_lag:
        i = at("Gi")
        rates |= {(i, 0): 1 / h["Ts"], (i, i): -1 / h["Ts"]}
    for name in ("fast", "slow", "error"):
        if name in where.names:
            i = at(name)
            rates |= {(i, i): -1 / h[f"{name}_min"], (0, i): float(name != "error")}
            noise[(i,)] = 2 * h[name] ** 2 / h[f"{name}_min"]
    for harmonic in range(1, options.daily_rhythm + 1):
        i, omega = at(f"day{harmonic}_sin"), 2 * np.pi * harmonic / MINUTES_PER_DAY
        rates |= {(0, i): 1.0, (i, i + 1): omega, (i + 1, i): -omega}
    A = placed((n, n), rates)
    if more := meal_names(form):
        i, m = at(more[0]), len(more)
        acts = coupling(unit, form)[1][FOOD, :m]
        A = A.at[i : i + m, i : i + m].set(unit.lag[FOOD, :m, :m]).at[0, i : i + m].set(acts)
    return A, placed((n,), noise)


def placed(shape: tuple[int, ...], values: Mapping[tuple[int, ...], Any]) -> Float[Array, "..."]:
    """Zeros but for numbers at places: one product with ones and zeros, where each setting would be compiled."""
    ones = np.zeros((len(values), *shape))
    ones[(np.arange(len(values)), *np.array([*values]).T)] = 1.0
    return jnp.tensordot(jnp.stack([jnp.asarray(v) * jnp.ones(()) for v in values.values()]), ones, 1)


def lags(M: Matrices, unit: Unit, steps: Steps) -> Float[Array, "steps 3 lags"]:
    """What a unit of each channel's doses has left at the steps, begun in equilibrium with the first day's basal."""
    first = unit.full[INSULIN] * steps.before_U_min
    channels = jnp.asarray(CHANNELS)

    def step(now: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        interval, rates = given
        return after_doses(M.lags[interval][channels], now, rates), now

    start = jnp.zeros((3, first.shape[0]), first.dtype).at[INSULIN].set(first)
    return jax.lax.scan(step, start, (steps.interval, steps.rates))[1]


def after_doses(
    step: Float[Array, "... 3 rows inputs"], now: Float[Array, "... 3 lags"], rates: Float[Array, "... 3"]
) -> Float[Array, "... 3 rows"]:
    """What a step makes of the lags and the rates of the doses in it."""
    return jnp.sum(step * jnp.concatenate([now, rates[..., None]], axis=-1)[..., None, :], axis=-1)


def effect_rows(
    M: Matrices, at: Any, on_board: Float[Array, "... 3 lags"], rates: Float[Array, "... 3"]
) -> Float[Array, "... driven 3"]:
    """What one unit of each effect (`p1`, `q`, `r`) does to glucose over a step, by the exact response."""
    return jnp.swapaxes(after_doses(M.response[at][..., jnp.asarray(CHANNELS), :, :], on_board, rates), -1, -2)


class Answers(NamedTuple):
    """What a step of a linear body takes."""

    interval: Int[Array, "*steps"]
    """Which of the lengths it has."""
    rows: Float[Array, "*steps driven effects"]
    """What a unit of each effect does to glucose (and its sensor) in it."""
    doubt: Float[Array, "*steps"] | None
    """As in `Stretch`."""


class Exact(NamedTuple):
    """Steps of a linear body: written out for each step of a record, its matrices would fill the memory."""

    each: Answers
    """One row for each step."""
    transition: Float[Array, "lengths states states"]
    """Over each of the lengths, without the effects."""
    noise: Float[Array, "lengths states states"]
    """What the step adds."""
    enters: Float[Array, " states"]
    """As `meal_push` gives it."""

    def step(self, now: Answers, x: Float[Array, " states"]) -> tuple[Array, Array, Array]:
        """State after a step, its transition, and the noise that it adds."""
        driven, effects = now.rows.shape
        n = len(x)
        F = self.transition[now.interval] + jnp.pad(now.rows, ((0, n - driven), (n - effects, 0)))
        return F @ x, F, _with_doubt(self.noise[now.interval], now.doubt, self.enters)

    def ahead(self, now: Answers, x: Float[Array, " states"], P: Float[Array, "states states"]) -> tuple[Array, Array]:
        """State and covariance after a step."""
        after, F, Q = self.step(now, x)
        return after, kalman_spread(P, F, Q)


def _with_doubt(Q: Array, doubt: Array | None, enters: Array) -> Array:
    return Q if doubt is None else Q + doubt * enters[:, None] * enters


class Stretch(NamedTuple):
    """What a step of any other body takes."""

    interval: Int[Array, "*steps"]
    """Which of the lengths it has."""
    on_board: Float[Array, "*steps 3 lags"]
    """What a unit of each channel's doses has left at its start."""
    rates: Float[Array, "*steps 3"]
    """Doses during the step."""
    choice: Float[Array, "*steps 3 effects"]
    """Which of the effects are in force."""
    doubt: Float[Array, "*steps"] | None
    """Variance of the carbohydrate that comes in beyond what is stated, by a person's usual effect of food; None where
    meals are not doubted."""


class _Way(NamedTuple):
    """A step as what is known beforehand, and what the body adds: `alone + into rows`, `noise + noisy into' + ...`."""

    alone: Float[Array, "core core"]
    into: Float[Array, "core pools"]
    rows: Float[Array, "pools states"]
    noise: Float[Array, "core core"]
    noisy: Float[Array, "core pools"]


class Linearised(eqx.Module):
    """Steps of any body: half a step of the disturbances, the body's own equations, the other half.

    The two parts are exact (disturbances) and of order 4 (the body); cut in this way a step errs by its third power.
    Covariances go by the step's derivative at the mean.

    Source: Strang, SIAM J. Numer. Anal. 5(3), 1968; Jazwinski, *Stochastic Processes and Filtering Theory*, 1970,
    section 8.3.
    """

    each: Stretch
    """One row for each step."""
    dt_min: Float[Array, " lengths"]
    """The lengths of steps, min."""
    whole: Matrices
    """Of the disturbances over each."""
    half: Matrices
    """And over half of it."""
    walk: Float[Array, " lengths"]
    """Variance that `p1` gains over each."""
    unit: Unit
    """The body."""
    person: Person
    """Whose effects."""
    form: Form = eqx.field(static=True)
    """Of the model."""

    def step(self, now: Stretch, x: Float[Array, " states"]) -> tuple[Array, Array, Array]:
        """State after a step, its transition, and the noise that it adds."""
        n, m = x.shape[0], layout(self.form).core
        after, way = self._way(now, x)
        F = jnp.eye(n, dtype=x.dtype).at[:m, :m].set(way.alone).at[:m].add(way.into @ way.rows)
        more = way.noisy @ way.into.T
        Q = jnp.zeros((n, n), x.dtype).at[:m, :m].set(way.noise + more + more.T)
        return after, F, self._walked(now, Q)

    def ahead(self, now: Stretch, x: Float[Array, " states"], P: Float[Array, "states states"]) -> tuple[Array, Array]:
        """State and covariance after a step, by the products that are not known beforehand alone."""
        m = layout(self.form).core
        after, way = self._way(now, x)
        moved = way.alone @ P[:m] + way.into @ (way.rows @ P)
        more = (moved @ way.rows.T + way.noisy) @ way.into.T + way.into @ way.noisy.T
        core = moved[:, :m] @ way.alone.T + more + way.noise
        late = moved[:, m:]
        return after, self._walked(now, jnp.block([[(core + core.T) / 2, late], [late.T, P[m:, m:]]]))

    def _way(self, now: Stretch, x: Float[Array, " states"]) -> tuple[Array, _Way]:
        """The state after a step, and the way there.

        With `H` and `Q` of half a step, and a body that moves its pools alone, by `(I + E g) x`, the step is
        `H (I + E g) H = H H + (H E)(g H)`, and its noise `H (I + E g) Q (I + E g)' H' + Q`.
        """
        m, k, at = layout(self.form).core, len(self.form.pools), now.interval
        H, Q = self.half.transition[at], self.half.noise[at]
        x = x.at[:m].set(H @ x[:m])
        x, rows = through_body(
            self.unit, self.person, self.form, x, now.on_board, now.rates, now.choice, self.dt_min[at]
        )
        x = x.at[:m].set(H @ x[:m])
        into, g = H[:, :k], rows[:, :m].at[:, :k].add(-jnp.eye(k))
        turned = Q @ g.T
        noisy = H @ turned + into @ (g @ turned) / 2
        return x, _Way(self.whole.transition[at], into, rows.at[:, :m].set(g @ H), self.whole.noise[at], noisy)

    def _walked(self, now: Stretch, Q: Float[Array, "states states"]) -> Array:
        m, parts = layout(self.form).core, self.form.options.sensitivity_blocks
        walked = Q.at[m : m + parts, m : m + parts].add(self.walk[now.interval])
        return _with_doubt(walked, now.doubt, meal_push(self.unit, self.form))


def through_body(
    unit: Unit,
    person: Person,
    form: Form,
    x: Float[Array, " states"],
    on_board: Float[Array, "3 lags"],
    rates: Float[Array, "3"],
    choice: Float[Array, "3 effects"],
    dt_min: Array,
) -> tuple[Float[Array, " states"], Float[Array, "pools states"]]:
    """States after the body's own equations alone, and how its pools depend on those before.

    By differences over what is not known of glucose and of effects: at a kink of the rates, derivatives would jump.

    Source: Norgaard, Poulsen and Ravn, "New developments in state estimation for nonlinear systems", Automatica
    36(11), 2000.
    """
    where = layout(form)
    pools = len(form.pools)
    effects = positive(x[where.core :], person, form)
    size = jnp.concatenate([jnp.full(pools, _APART_MG_DL), _APART_SHARE * person.effect_mean[1:]])
    apart = jnp.diag(size)
    v = jnp.concatenate([x[:pools], choice @ effects]) + jnp.concatenate([0 * size[None], apart, -apart])
    # Each state a number of its own: differences lie side by side in memory.
    found = jnp.stack(flow(unit, form, list(v.T[:pools]), v.T[pools:], list(on_board), list(rates), dt_min), axis=-1)
    moved, (up, down) = found[0], found[1:].reshape(2, len(size), pools)
    J = ((up - down) / (2 * size[:, None])).T
    slope = J[:, pools:] @ choice * effects / effect_prior(person, form)[0]
    between = jnp.zeros((pools, where.core - pools), x.dtype)
    return x.at[:pools].set(moved), jnp.concatenate([J[:, :pools], between, slope], axis=1)


_APART_MG_DL, _APART_SHARE = 10.0, 0.1  # differences of pools, and of effects as a share of the usual


@functools.partial(jax.jit, static_argnums=1)
def effect_prior(person: Person, form: Form) -> tuple[Float[Array, " effects"], Float[Array, "effects effects"]]:
    """Means and covariance of `p1` (of each part of the day), `q` and `r`."""
    parts, n = form.options.sensitivity_blocks, len(layout(form).names) - layout(form).core
    which = jnp.asarray([*[1] * parts, 2, 3][:n])
    mean, var = person.effect_mean[which], person.effect_sd[which] ** 2
    together = jnp.asarray(np.arange(n)[:, None] // parts + np.arange(n) // parts == 0)  # the parts of the day
    apart = (_PART_SHARE * person.effect_mean[1]) ** 2 * jnp.asarray((np.arange(n) < parts) & (parts > 1))
    return mean, jnp.where(together, var[0], jnp.diag(var)) + jnp.diag(apart)


_PART_SHARE = 0.15  # of `p1`, by which parts of the day differ


def choices(block: Int[Array, "*steps"], form: Form) -> Float[Array, "*steps 3 effects"]:
    """Which of the effects are in force: one of `p1`, by the part of the day; `q`; `r`."""
    parts, n = form.options.sensitivity_blocks, len(layout(form).names) - layout(form).core
    rest = jnp.broadcast_to(jnp.eye(2, n - parts), (*block.shape, 2, n - parts))
    first = jax.nn.one_hot(block, parts)[..., None, :]
    top = jnp.concatenate([first, jnp.zeros((*block.shape, 1, n - parts))], axis=-1)
    return jnp.concatenate([top, jnp.concatenate([jnp.zeros((*block.shape, 2, parts)), rest], axis=-1)], axis=-2)


@functools.partial(jax.jit, static_argnums=2)
def positive(x: Float[Array, "*shape effects"], person: Person, form: Form) -> Float[Array, "*shape effects"]:
    """Effects of a filter's states: themselves where steps are exact; else the states stand for their logarithms, as
    `mean exp((x - mean)/mean)`."""
    mean = effect_prior(person, form)[0]
    return x if form.exact else mean * jnp.exp(x / mean - 1)


class Model(NamedTuple):
    """The Gaussian model of one record: what a filter needs, and nothing else.

    ```
    x[0] ~ N(mean, cov),   x[i+1] = motion[i](x[i]) + N(0, noise[i]),   y[i] = read x[i] + N(0, sd^2)
    ```
    """

    mean: Float[Array, " states"]
    cov: Float[Array, "states states"]
    motion: Exact | Linearised
    """The steps."""
    y: Float[Array, " steps"]
    """Readings less the level, mg/dL."""
    valid: Array
    """Which steps have one."""
    limit: Float[Array, " steps"]
    """Which are at a limit of the sensor: -1 at the lowest, 1 at the highest, 0 between."""
    read: Float[Array, " states"]
    """The row that picks what the sensor reads."""
    noise_sd: Array
    """Of the sensor, mg/dL."""

    def matrices(self) -> tuple[Float[Array, "steps states states"], Float[Array, "steps states states"]]:
        """Transition and noise of each step, where steps are exact."""
        motion: Any = self.motion
        anywhere = jnp.zeros((len(self.y), len(self.mean)), self.mean.dtype)
        return jax.vmap(motion.step)(motion.each, anywhere)[1:]


def build(
    h: Mapping[str, Array], person: Person, steps: Steps, form: Form, unit: Unit, over: Spans | None = None
) -> tuple[Model, Float[Array, "steps 3 lags"]]:
    """The model of one record under the constants `h`, and what is on board at its steps; `over` is of `dt_min`."""
    where, at, dt = layout(form), steps.interval, steps.dt_min
    choice = choices(steps.block, form)
    doubt = (
        (form.options.meal_doubt * person.effect_mean[2]) ** 2 * steps.squares * dt[at] if meal_names(form) else None
    )
    walk = (h.get("change", 0.0) * person.effect_mean[1]) ** 2 / MINUTES_PER_DAY * dt
    M, half = spans(h, unit, form, dt) if over is None else over
    on_board = lags(M, unit, steps)
    if half is None:
        rows = effect_rows(M, at, on_board, steps.rates)
        # A sum: products of so many small matrices go one by one.
        rows = jnp.sum(rows[..., None] * choice[:, None], axis=-2)
        n, m = len(where.names), where.core
        alone = jnp.broadcast_to(jnp.eye(n), (*dt.shape, n, n)).at[:, :m, :m].set(M.transition)
        motion = Exact(Answers(at, rows, doubt), alone, full_noise(M.noise, walk, form), meal_push(unit, form))
    else:
        each = Stretch(at, on_board, steps.rates, choice, doubt)
        motion = Linearised(each, dt, M, half, walk, unit, person, form)
    mean, cov = prior(h, unit, person, steps, form)
    return Model(
        mean=mean,
        cov=cov,
        motion=motion,
        y=steps.glucose_mg_dL - person.level_mg_dL,
        valid=steps.valid,
        limit=steps.limit,
        read=reading_row(where),
        noise_sd=h["noise"],
    ), on_board


def meal_push(unit: Unit, form: Form) -> Float[Array, " states"]:
    """What a gram a minute beyond what is stated adds to the states; zero where meals are not doubted."""
    where, more = layout(form), meal_names(form)
    enters = jnp.zeros(len(where.names), unit.push.dtype)
    if not more:
        return enters
    return enters.at[where.at(more[0]) : where.at(more[-1]) + 1].set(unit.push[FOOD, : len(more)])


def reading_row(where: Layout) -> Float[Array, " states"]:
    """The row that picks what the sensor reads."""
    return jnp.zeros(len(where.names)).at[jnp.asarray([where.at(name) for name in where.reads])].set(1.0)


def full_noise(
    Q: Float[Array, "... core core"], walk: Float[Array, "..."], form: Form
) -> Float[Array, "... states states"]:
    """The noise of all states: that of the core, and the random walk of `p1`, which is taken constant in a step."""
    n, m, parts = len(layout(form).names), layout(form).core, form.options.sensitivity_blocks
    whole = jnp.zeros((*Q.shape[:-2], n, n), Q.dtype).at[..., :m, :m].set(Q)
    return whole.at[..., m : m + parts, m : m + parts].set(walk[..., None, None])


_START_SD = 60.0  # of glucose about its level before the first reading, mg/dL
RHYTHM_SD = 0.3  # of each coefficient of the first harmonic, mg/dL/min


def prior(
    h: Mapping[str, Array], unit: Unit, person: Person, steps: Steps, form: Form
) -> tuple[Float[Array, " states"], Float[Array, "states states"]]:
    """Mean and covariance of the states before the first reading: disturbances as they always are, effects as for
    `person`, the rhythm small, pools beside glucose in balance under the first day's basal rate."""
    where = layout(form)
    at, pools = where.at, form.pools[1:]
    n = len(where.names)
    effects, spread = effect_prior(person, form)
    mean = placed((n,), {(at("c"),): person.effect_mean[0]}).at[where.core :].set(effects)
    sds = {(at("c"),): person.effect_sd[0]}
    sds |= {(at(name),): h[name] for name in ("fast", "slow", "error") if name in where.names}
    for harmonic in range(1, form.options.daily_rhythm + 1):
        # A random phase: the same whatever the clock says at the start.
        i = at(f"day{harmonic}_sin")
        sds |= {(i,): RHYTHM_SD / harmonic, (i + 1,): RHYTHM_SD / harmonic}
    sd = placed((n,), sds)
    if pools:
        basal = steps.before_U_min * person.effect_mean[1] / unit.gross[INSULIN]
        y = settled(unit.body, person.level_mg_dL, basal, unit.full[INSULIN], form)
        start = jnp.stack([unit.size * (getattr(y, name) - getattr(unit.base, name)) for name in pools])
        mean = mean.at[1 : 1 + len(pools)].set(start)
        sd = sd.at[1 : 1 + len(pools)].set(_START_SD)
    cov = jnp.diag(sd**2).at[where.core :, where.core :].set(spread)
    if form.options.looked_back:
        parts = jnp.arange(form.options.sensitivity_blocks)
        balance = jnp.asarray([1.0, -1.0, -1.0]) * person.usual @ jnp.mean(choices(parts, form), axis=0)
        shared = spread @ balance
        cov = cov.at[at("c"), where.core :].set(shared).at[where.core :, at("c")].set(shared)
        cov = cov.at[at("c"), at("c")].add(balance @ shared)
    # The sensor starts in equilibrium with glucose, about a mg/dL.
    ends = jnp.asarray([at(name) for name in ("G", "Gi") if name in where.names])
    cov = cov.at[ends[:, None], ends].set(_START_SD**2)
    return mean, cov.at[ends, ends].add(1.0)

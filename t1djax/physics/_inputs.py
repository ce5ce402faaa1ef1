"""What goes into the body: doses as people state them, and the piecewise-constant rates they make."""

import dataclasses
import functools
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checked import check_types
from .._words import counted

MG_PER_G = 1000.0
MIN_PER_H = 60.0
ON_BOARD_MIN = 1440.0
"""So long before a record doses count for what is on board at its start, min; of a slow meal 0.3 % are then left."""
DOSE_DURATION_MIN = 1.0
"""A bolus or meal without a stated duration is delivered at a constant rate over this time, min."""
LONG_ACTING_MIN = 1440.0
"""An injection of long-acting insulin acts as a constant rate over this time, min."""


def _column(values: Iterable[float]) -> np.ndarray:
    return np.asarray(list(values), dtype=np.float64)


def _none() -> np.ndarray:
    return np.zeros(0)


Events = tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""Starts, min; amounts; and the time over which each is delivered, min."""


@dataclasses.dataclass(frozen=True, eq=False)
class Doses:
    """Insulin and meals as events (time, amount, duration) and the basal schedule of a pump.

    Amounts are whole doses: whatever grid they are later seen on, the integral of the rate is the dose.
    Times are minutes on the clock of the record. Build one with `Doses.of`.

    Raises:
        ValueError: naming the field, where a number is not finite, negative, or out of order, or where
            columns differ in length.
    """

    basal_time_min: Float[np.ndarray, " basals"]
    """Start of each basal rate, min, increasing; it holds until the next."""
    basal_U_h: Float[np.ndarray, " basals"]
    """Basal rates, U/h."""
    bolus_time_min: Float[np.ndarray, " boluses"]
    """Start of each bolus, min."""
    bolus_U: Float[np.ndarray, " boluses"]
    """Amounts, U."""
    bolus_duration_min: Float[np.ndarray, " boluses"]
    """Time over which each is delivered, min; longer than 1 for an extended (square-wave) bolus."""
    meal_time_min: Float[np.ndarray, " meals"]
    """Start of each meal, min."""
    carbs_g: Float[np.ndarray, " meals"]
    """Carbohydrate, g."""
    meal_duration_min: Float[np.ndarray, " meals"]
    """Time over which each is eaten, min."""
    long_acting_time_min: Float[np.ndarray, " injections"] = dataclasses.field(default_factory=_none)
    """Time of each injection of long-acting insulin, min."""
    long_acting_U: Float[np.ndarray, " injections"] = dataclasses.field(default_factory=_none)
    """Amounts, U; they act beside the basal schedule, which is 0 for a person on pens."""
    long_acting_duration_min: Float[np.ndarray, " injections"] = dataclasses.field(default_factory=_none)
    """Time over which each acts at a constant rate, min; 1440 where nothing better is known."""

    def __repr__(self) -> str:
        basal = self.basal_U_h
        rates = " to ".join(dict.fromkeys(f"{x:.3g}" for x in (basal.min(), basal.max()))) if len(basal) else "0"
        boluses = f"{counted(len(self.bolus_U), 'bolus', 'boluses')} of {self.bolus_U.sum():.4g} U"
        long = f", {counted(len(self.long_acting_U), 'long-acting injection')} of {self.long_acting_U.sum():.4g} U"
        meals = f"{counted(len(self.carbs_g), 'meal')} of {self.carbs_g.sum():.4g} g"
        return f"Doses(basal {rates} U/h, {boluses}, {meals}{long if len(self.long_acting_U) else ''})"

    def __post_init__(self) -> None:
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for group in (("basal_time_min", "basal_U_h"),
                      ("bolus_time_min", "bolus_U", "bolus_duration_min"),
                      ("meal_time_min", "carbs_g", "meal_duration_min"),
                      ("long_acting_time_min", "long_acting_U", "long_acting_duration_min")):  # fmt: skip
            if len({len(columns[name]) for name in group}) > 1:
                raise ValueError(f"Doses: {', '.join(group)} differ in length; give one value per event")
        for name, values in columns.items():
            if not np.all(np.isfinite(values)):
                raise ValueError(f"Doses: {name} has a value that is not a finite number")
            if name.endswith("duration_min") and np.any(values <= 0):
                raise ValueError(f"Doses: {name} has a duration of zero or less; a quick dose takes 1 min")
            if name in ("basal_U_h", "bolus_U", "carbs_g", "long_acting_U") and np.any(values < 0):
                raise ValueError(f"Doses: {name} has a negative amount")
        if len(self.basal_time_min) == 0:
            raise ValueError("Doses: state at least one basal rate (0 U/h for injections only)")
        if np.any(np.diff(self.basal_time_min) <= 0):
            raise ValueError("Doses: basal_time_min must increase")

    @classmethod
    def of(
        cls,
        *,
        basal: float | Iterable[tuple[float, float]] = 0.0,
        boluses: Iterable[tuple[float, ...]] = (),
        meals: Iterable[tuple[float, ...]] = (),
        long_acting: Iterable[tuple[float, ...]] = (),
    ) -> "Doses":
        """Doses from tuples.

        Args:
            basal: one rate (U/h) held throughout, or `(time_min, U_h)` pairs.
            boluses: `(time_min, U)` or `(time_min, U, duration_min)`.
            meals: `(time_min, carbs_g)` or `(time_min, carbs_g, duration_min)`.
            long_acting: injections, `(time_min, U)` or `(time_min, U, duration_min)`.

        Returns:
            The doses. A bolus or meal without a duration lasts one minute, long-acting insulin a day.

        Example:
            >>> from t1djax import Doses
            >>> doses = Doses.of(basal=0.9, boluses=[(60, 5.0), (400, 4.0, 120)], meals=[(60, 50, 20)])
            >>> float(doses.bolus_U.sum())
            9.0
        """
        check_types(Doses.of, locals())
        schedule = [(0.0, float(basal))] if isinstance(basal, (int, float)) else list(basal)
        events = []
        usual = (DOSE_DURATION_MIN, DOSE_DURATION_MIN, LONG_ACTING_MIN)
        for group, minutes in zip((boluses, meals, long_acting), usual, strict=True):
            rows = [(*row, minutes) if len(row) == 2 else tuple(row) for row in group]
            events += [_column(row[i] for row in rows) for i in range(3)]
        return cls(_column(t for t, _ in schedule), _column(x for _, x in schedule), *events)

    @property
    def events(self) -> tuple[Events, Events, Events]:
        """Boluses, meals and injections of long-acting insulin, each as times, amounts and durations."""
        return (
            (self.bolus_time_min, self.bolus_U, self.bolus_duration_min),
            (self.meal_time_min, self.carbs_g, self.meal_duration_min),
            (self.long_acting_time_min, self.long_acting_U, self.long_acting_duration_min),
        )

    @property
    def background(self) -> tuple[Float[np.ndarray, " changes"], Float[np.ndarray, " changes"]]:
        """Insulin that is no bolus: times at which its rate changes, min, and the rate from there, U/h.

        The basal schedule plus long-acting insulin. Without the latter it is the schedule as stated.

        Example:
            >>> from t1djax import Doses
            >>> [x.tolist() for x in Doses.of(long_acting=[(60, 24)]).background]
            [[-1.0, 0.0, 60.0, 1500.0], [0.0, 0.0, 1.0, 0.0]]
        """
        if not len(self.long_acting_U):
            return self.basal_time_min, self.basal_U_h
        start, stop = self.long_acting_time_min, self.long_acting_time_min + self.long_acting_duration_min
        # The first rate holds before its time as well: it is never that of an injection.
        before = [min(float(start.min()), float(self.basal_time_min[0])) - 1.0]
        times = np.unique(np.concatenate([before, self.basal_time_min, start, stop]))
        in_force = np.clip(np.searchsorted(self.basal_time_min, times, side="right") - 1, 0, None)
        return times, self.basal_U_h[in_force] + MIN_PER_H * _overlap(
            times, start, stop, self.long_acting_U / self.long_acting_duration_min
        )

    def inputs(self, start_min: float, end_min: float) -> "Inputs":
        """The rates over a window that starts at `start_min` (min).

        What is delivered before the window is cut off; what starts at `end_min` or later is left out.
        The rate in force at `start_min` is the last basal stated before it (the first stated, if none is).

        Args:
            start_min: start of the window, min on the record's clock.
            end_min: where the window ends, min.

        Returns:
            The rates between breaks, in JAX's current default precision; see `Inputs.of`.

        Raises:
            ValueError: where the window does not end after it starts.

        Example:
            >>> import t1djax
            >>> doses = t1djax.Doses.of(basal=0.6, meals=[(60, 50, 20)])
            >>> doses.inputs(0, 120).break_min.tolist()
            [0.0, 60.0, 80.0]
        """
        return Inputs.of(*self.rates(start_min, end_min))

    def rates(
        self, start_min: float, end_min: float
    ) -> tuple[Float[np.ndarray, " breaks"], Float[np.ndarray, " breaks"], Float[np.ndarray, " breaks"]]:
        """The columns of `inputs` as NumPy arrays: breaks (min), insulin (U/min), carbohydrate (mg/min).

        Args:
            start_min: start of the window, min on the record's clock.
            end_min: where the window ends, min.

        Returns:
            Breaks (min) and, from each on, insulin (U/min) and carbohydrate (mg/min).

        Raises:
            ValueError: where the window, in minutes, does not end after it starts.
        """
        if not end_min > start_min:
            raise ValueError(f"Doses.inputs: the window ends ({end_min} min) before it starts ({start_min} min)")
        late = lambda t: t < end_min
        basal_time, basal = self.background
        b, m = late(self.bolus_time_min), late(self.meal_time_min)
        bolus0, bolus1 = self.bolus_time_min[b], (self.bolus_time_min + self.bolus_duration_min)[b]
        meal0, meal1 = self.meal_time_min[m], (self.meal_time_min + self.meal_duration_min)[m]
        edges = np.concatenate([basal_time[late(basal_time)], bolus0, bolus1, meal0, meal1])
        breaks = np.unique(np.concatenate([[start_min], edges[edges > start_min]]))
        in_force = np.clip(np.searchsorted(basal_time, breaks, side="right") - 1, 0, None)
        insulin = basal[in_force] / MIN_PER_H
        insulin = insulin + _overlap(breaks, bolus0, bolus1, self.bolus_U[b] / (bolus1 - bolus0))
        carbs = MG_PER_G * _overlap(breaks, meal0, meal1, self.carbs_g[m] / (meal1 - meal0))
        keep = np.concatenate([[True], (np.diff(insulin) != 0) | (np.diff(carbs) != 0)])
        return breaks[keep], insulin[keep], carbs[keep]

    def earlier(
        self, start_min: float
    ) -> tuple[Float[np.ndarray, " breaks"], Float[np.ndarray, " breaks"], Float[np.ndarray, " breaks"]] | None:
        """Columns like those of `rates`, of boluses and meals of the day before a window, basal left out.

        Args:
            start_min: start of the window, min on the record's clock.

        Returns:
            Breaks (min), insulin (U/min) and carbohydrate (mg/min); None where there is no such dose.
        """
        nothing = np.zeros(0)
        events = dataclasses.replace(
            self,
            basal_U_h=np.zeros_like(self.basal_U_h),
            long_acting_time_min=nothing,
            long_acting_U=nothing,
            long_acting_duration_min=nothing,
        )
        columns = events.rates(start_min - ON_BOARD_MIN, start_min)
        return columns if np.any(columns[1] > 0) or np.any(columns[2] > 0) else None


def _overlap(breaks: np.ndarray, start: np.ndarray, stop: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Sum of the rates of the events that cover each interval `[breaks[i], breaks[i + 1])`."""
    # One difference per edge, sorted: linear in the number of events, however long the record.
    total = np.zeros(len(breaks) + 1)
    clipped = np.searchsorted(breaks, np.maximum(start, breaks[0]))
    np.add.at(total, clipped, np.where(stop > breaks[0], rate, 0.0))
    np.add.at(total, np.searchsorted(breaks, np.maximum(stop, breaks[0])), np.where(stop > breaks[0], -rate, 0.0))
    active = np.zeros(len(breaks) + 1, dtype=np.int64)
    np.add.at(active, clipped, (stop > breaks[0]).astype(np.int64))
    np.add.at(active, np.searchsorted(breaks, np.maximum(stop, breaks[0])), -(stop > breaks[0]).astype(np.int64))
    # Where nothing is active the running sum is rounding error: make it exactly zero.
    return np.where(np.cumsum(active)[:-1] > 0, np.cumsum(total)[:-1], 0.0)


class Inputs(eqx.Module):
    """Piecewise-constant input rates of one patient; stack and `vmap` for a cohort.

    Rate `i` holds on `[break_min[i], break_min[i + 1])`, the last one for ever. A repeated last break is
    padding: it has no length. The first break is the start of the window.
    """

    break_min: Float[Array, "*batch breaks"]
    """Times at which a rate changes, min, not decreasing."""
    insulin_U_min: Float[Array, "*batch breaks"]
    """Insulin delivery, U/min."""
    carbs_mg_min: Float[Array, "*batch breaks"]
    """Carbohydrate intake, mg/min."""
    earlier: "Inputs | None" = eqx.field(default=None, kw_only=True)
    """Boluses and meals of the day before the window, which leave insulin and food on board at its start."""

    @classmethod
    def of(
        cls,
        break_min: Float[np.ndarray, "*batch breaks"],
        insulin_U_min: Float[np.ndarray, "*batch breaks"],
        carbs_mg_min: Float[np.ndarray, "*batch breaks"],
    ) -> "Inputs":
        """The rates in JAX's current default precision: every dose stays whole.

        In single precision a minute near 1,000,000 is a number of sixteenths. Where a break is rounded, the rates
        beside it make up for it.

        Args:
            break_min: see the field, like the others.
            insulin_U_min: rates, U/min.
            carbs_mg_min: rates, mg/min.

        Returns:
            The rates.
        """
        rounded = np.asarray(break_min, jnp.result_type(float))  # on the host, also while a program is traced
        true, seen = np.diff(break_min), np.diff(rounded.astype(np.float64))
        share = np.ones(break_min.shape)
        np.divide(true, seen, out=share[..., :-1], where=seen > 0)
        return cls(*map(jax.device_put, (rounded, share * insulin_U_min, share * carbs_mg_min)))

    @property
    def start_min(self) -> Float[Array, "*batch"]:
        """Start of the window, min."""
        return self.break_min[..., 0]

    def since_start(self) -> "Inputs":
        """The same rates on a clock that starts with the window: single precision is fine there."""
        return dataclasses.replace(self, break_min=self.break_min - self.start_min[..., None])

    def index(self, t: ArrayLike) -> Int[Array, "..."]:
        """Which interval holds at `t` (min): at a jump, the one that begins there.

        Args:
            t: one time or an array of them, min; one before the window counts as its start.

        Returns:
            Positions in `break_min`, in the shape of `t`.
        """
        return jnp.clip(jnp.searchsorted(self.break_min, jnp.asarray(t), side="right") - 1, 0)

    def at(self, t: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The rates at one time or several.

        Args:
            t: one time or an array of them, min; one before the window counts as its start.

        Returns:
            Insulin (U/min) and carbohydrate (mg/min), each in the shape of `t`.
        """
        i = self.index(t)
        return self.insulin_U_min[i], self.carbs_mg_min[i]

    def delivered(self, ts: Float[Array, " times"]) -> tuple[Float[Array, " times"], Float[Array, " times"]]:
        """Insulin (U) and carbohydrate (g) given from the start of the window until each of `ts` (min).

        Exact on any grid: differences of the result are the doses in each cell.

        Args:
            ts: times, min, none before the window.

        Returns:
            The two totals, U and g, in the shape of `ts`.
        """
        return _delivered(self, ts)

    def pad(self, length: int) -> "Inputs":
        """The same rates with the last break repeated until there are `length` of them.

        Args:
            length: number of breaks there shall be.

        Returns:
            The longer record. The last rate holds on as it did.

        Raises:
            ValueError: where there are more than that already.
        """
        extra = length - self.break_min.shape[0]
        if extra < 0:
            raise ValueError(f"Inputs.pad: {length} is fewer than the {self.break_min.shape[0]} breaks there are")
        columns = (_extended(x, extra) for x in (self.break_min, self.insulin_U_min, self.carbs_mg_min))
        return Inputs(*columns, earlier=self.earlier)


@functools.partial(jax.jit, static_argnums=1)
def _extended(x: Float[Array, " breaks"], extra: int) -> Float[Array, " longer"]:
    return jnp.concatenate([x, jnp.repeat(x[-1:], extra)])


@jax.jit
def _delivered(inputs: Inputs, ts: Float[Array, " times"]) -> tuple[Float[Array, " times"], Float[Array, " times"]]:
    width = jnp.diff(inputs.break_min)
    i = inputs.index(ts)
    totals = []
    for rate in (inputs.insulin_U_min, inputs.carbs_mg_min / MG_PER_G):
        before = jnp.concatenate([jnp.zeros_like(rate[:1]), jnp.cumsum(rate[:-1] * width)])
        totals.append(before[i] + rate[i] * (ts - inputs.break_min[i]))
    return totals[0], totals[1]

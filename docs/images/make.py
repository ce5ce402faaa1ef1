"""Draw `people.png`, two simulated days followed and forecast, and what ten records tell: python docs/images/make.py"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import t1djax
from t1djax.physics import kanderian

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#222222"
SHOWN = {"10": 36.75, "1": 43.5}
"""Whose day is drawn, and the hour from which is forecast."""
AHEAD = tuple(float(m) for m in range(15, 195, 15))
Z90 = 1.6449

noise = t1djax.WhiteNoise(8.0)
people = t1djax.virtual_population(10, key=jax.random.key(4), bodies=kanderian(), days=3, noise=noise)
inverse = t1djax.fit(people, model="ode", physiology="kanderian", free=["SI", "EGP"])
days = t1djax.fit_state_space([people[name] for name in SHOWN], physiology="kanderian")

style = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}
with plt.rc_context(style):
    fig = plt.figure(figsize=(13, 5.2), layout="constrained")
    grid = fig.add_gridspec(2, 3, height_ratios=(3, 1), width_ratios=(3, 3, 2.2))
    for column, (name, hour) in enumerate(SHOWN.items()):
        person = people[name]
        now = float(person.time_min[person.valid][np.searchsorted(person.time_min[person.valid], hour * 60)])
        past = t1djax.smoothed_states(days, person, until_min=now)
        ahead = t1djax.state_space_forecasts(
            days, person, origin_min=np.array([now]), horizon_min=AHEAD, future_inputs="announced", announced_min=30
        )
        glucose = fig.add_subplot(grid[0, column])
        doses = fig.add_subplot(grid[1, column], sharex=glucose)
        h = lambda minutes: np.asarray(minutes) / 60
        glucose.axhspan(70, 180, color=GREEN, alpha=0.10, lw=0)
        glucose.axvline(h(now), color=INK, lw=0.8, ls=":")
        seen = person.valid & (person.time_min <= now)
        glucose.plot(h(person.time_min[seen]), person.glucose_mg_dL[seen], ".", ms=3, color=GREY, label="readings")
        later = person.valid & (person.time_min > now)
        glucose.plot(
            h(person.time_min[later]), person.glucose_mg_dL[later], "o", ms=3, mfc="white", mec=GREY, mew=0.7,
            label="read afterwards",
        )  # fmt: skip
        glucose.plot(h(past.time_min), past.mean["G"], color=BLUE, lw=1.6, label="fit")
        at = h(now + np.r_[0.0, ahead.horizon_min])
        mean = np.r_[past.mean["G"][-1], ahead.mean_mg_dL[0]]
        sd = np.r_[0.0, ahead.sd_mg_dL[0]]
        glucose.fill_between(
            at, mean - Z90 * sd, mean + Z90 * sd, color=ORANGE, alpha=0.2, lw=0, label="90 % of readings"
        )
        glucose.plot(at, mean, color=ORANGE, lw=1.8, label="forecast")
        glucose.set(xlim=(h(now) - 12.5, h(now) + 3.2), ylim=(40, 300), yticks=(70, 180, 250))
        glucose.set_title(f"Person {name}, forecast at {now % 1440 // 60:02.0f}:{now % 60:02.0f}")
        d = person.doses
        doses.bar(h(d.bolus_time_min), d.bolus_U, width=0.22, color=BLUE, label="bolus, U")
        doses.bar(h(d.meal_time_min), -d.carbs_g / 10, width=0.22, color=ORANGE, label="meal, 10 g")
        doses.axhline(0, color="#666666", lw=0.8)
        ticks = np.arange(np.ceil((h(now) - 18) / 6) * 6, h(now) + 3.2, 6)
        doses.set(xticks=ticks, xticklabels=[f"{t % 24:02.0f}:00" for t in ticks], ylim=(-10, 14))
        doses.set_yticks((-6, 0, 6), ("60 g", "0", "6 U"))
        glucose.tick_params(labelbottom=False)
        if column == 0:
            glucose.set_ylabel("glucose, mg/dL")
            doses.set_ylabel("insulin, meals")
        else:
            glucose.legend(loc="upper left", ncols=3, frameon=False, fontsize=8, handlelength=1.4)
    forest = fig.add_subplot(grid[:, 2])
    for row, name in enumerate(people.names):
        estimate = inverse[name].estimates["SI"]
        forest.errorbar(
            1e4 * estimate.value, row, xerr=1e4 * Z90 * estimate.standard_error, fmt="o", ms=5, color=BLUE, capsize=3,
            lw=1.6, label="estimate, 90 % interval" if row == 0 else None,
        )  # fmt: skip
        forest.plot(
            1e4 * people.truth[name].parameters["SI"], row, "|", ms=16, mew=2, color=ORANGE,
            label="truth, kept from the fit" if row == 0 else None,
        )  # fmt: skip
    forest.set_yticks(range(len(people.names)), [f"Person {name}" for name in people.names])
    forest.invert_yaxis()
    forest.set(xlabel="insulin sensitivity, 10⁻⁴ mL/µU/min", title="What three days of readings tell")
    forest.legend(loc="center right", frameon=False, fontsize=8)
    fig.savefig(Path(__file__).with_name("people.png"), dpi=110)

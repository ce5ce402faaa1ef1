"""Draw `cohort.png`, ten noisy patients identified and forecast at once: python docs/images/make.py"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt

import t1djax

cohort = t1djax.reference_cohort(interval_min=5, noise=t1djax.WhiteNoise(10.0), key=jax.random.key(0))
fit = t1djax.fit(cohort, model="pinn", mode="inverse", free=["ksi"])
table = t1djax.summary(fit, cohort).set_index("patient")

fig, axes = plt.subplots(2, 5, figsize=(13, 5), sharex=True, layout="constrained")
for ax, patient in zip(axes.flat, cohort, strict=True):
    masks = patient.masks
    hours = patient.time_min / 60
    seen = masks.fit | masks.held_out
    ax.axvspan(hours[masks.forecast][0], hours[-1], color="#D55E00", alpha=0.1, lw=0)
    ax.scatter(hours[seen], patient.glucose_mg_dL[seen], s=2, color="0.6", lw=0, label="readings before the forecast")
    later = masks.forecast
    ax.scatter(hours[later], patient.glucose_mg_dL[later], s=2, color="#D55E00", lw=0, label="readings never seen")
    ax.plot(hours, fit[patient.name].glucose_mg_dL, color="#0072B2", lw=1.5, label="PINN, forecast included")
    ksi, se, error = (table.loc[patient.name, c] for c in ("ksi", "ksi_se", "ksi_error_percent"))
    ax.set_title(f"{patient.name}: ksi {ksi:.1f} ± {se:.1f}, off {error:.2f} %", fontsize=8, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
fig.supxlabel("time, h", fontsize=10)
fig.supylabel("glucose, mg/dL", fontsize=10)
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, markerscale=4)
fig.savefig(Path(__file__).with_name("cohort.png"), dpi=90)

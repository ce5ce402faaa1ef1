"""Ten patients with noisy readings, each identified and forecast by a network of its own: ten lines."""

import sys
from pathlib import Path

import jax

import t1djax
from t1djax.plotting import plot_identification

out = Path("out/quickstart")
out.mkdir(parents=True, exist_ok=True)
interval, names = (15, ["Pat2", "Pat3"]) if "--quick" in sys.argv else (5, None)
noise = t1djax.WhiteNoise(10.0)
cohort = t1djax.reference_cohort(interval_min=interval, noise=noise, key=jax.random.key(0), names=names)
fit = t1djax.fit(cohort, model="pinn", mode="inverse", free=["ksi"])
columns = ["patient", "ksi", "ksi_se", "ksi_error_percent", "rmse_true_fit_mg_dL", "rmse_true_forecast_mg_dL"]
print(t1djax.summary(fit, cohort)[columns].round(2).to_string(index=False))
report = t1djax.identify(fit, cohort)
print(report.verdict)
plot_identification(report["Pat3"]).savefig(out / "Pat3.png")

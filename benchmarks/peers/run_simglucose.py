"""simglucose: one virtual adult for some days, with its own basal-bolus controller. Another model than ours."""

# pyright: reportMissingImports=false

import datetime as dt
import tempfile
import time
from typing import Any

from simglucose.actuator.pump import InsulinPump
from simglucose.controller.basal_bolus_ctrller import BBController
from simglucose.patient.t1dpatient import T1DPatient
from simglucose.sensor.cgm import CGMSensor
from simglucose.simulation.env import T1DSimEnv
from simglucose.simulation.scenario import CustomScenario
from simglucose.simulation.sim_engine import SimObj, sim
from talk import serve


def simulate(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a simulation with three meals a day."""
    began = time.perf_counter()
    start = dt.datetime(2026, 1, 1)
    meals = [(24 * day + hour, grams) for day in range(job["days"]) for hour, grams in ((7, 45), (12, 70), (18, 80))]
    body = T1DPatient.withName("adult#001")
    sensor, pump = CGMSensor.withName("Dexcom", seed=1), InsulinPump.withName("Insulet")
    with tempfile.TemporaryDirectory() as folder:
        env = T1DSimEnv(body, sensor, pump, CustomScenario(start_time=start, scenario=meals))
        table = sim(SimObj(env, BBController(), dt.timedelta(days=job["days"]), animate=False, path=folder))
    return {"days": job["days"], "seconds": [time.perf_counter() - began], "rows": len(table)}


if __name__ == "__main__":
    serve({"simulate": simulate}, ("simglucose", "numpy", "scipy"))

"""Patient-days a second in closed loop: PID and MPC on each body, beside a plain NumPy loop and simglucose.

`python -m benchmarks.trials --people 1000 --days 14 --simglucose PYTHON` prints a row for each body and controller,
without compilation; PYTHON is of an environment of its own that has simglucose. `--memory` shows the peak memory of
processes with 1,000 to 100,000 people and 1 to 30 days.
"""

import argparse
import subprocess
import sys
import time

import jax
import numpy as np

from t1djax.physics import Hovorka, Kanderian, Magdelaine
from t1djax.trials import MPC, PID, trial

from .scale import peak_MiB

CONTROLLERS = {"PID": PID(), "MPC": MPC()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--controllers", default="PID,MPC")
    parser.add_argument("--simglucose", metavar="PYTHON", help="Python of an environment with simglucose")
    parser.add_argument("--memory", action="store_true", help="peak memory by people and days, and nothing else")
    args = parser.parse_args()
    if args.memory:
        memory()
        return
    plain = plain_loop(1)
    print(f"NumPy, one person of Kanderian's after another, PID: {plain:.1f} patient-days/s")
    print(f"simglucose, one person after another, PID: {simglucose(args.simglucose)}")
    print("body, controller | compile s | patient-days/s (median) | times NumPy | peak MB")
    for body in (Kanderian, Hovorka, Magdelaine):
        for name in args.controllers.split(","):
            rates, compile_s = [], 0.0
            for i in range(args.repeat + 1):
                began = time.perf_counter()
                found = trial({name: CONTROLLERS[name]}, args.people, days=args.days, key=jax.random.key(i % 2),
                              physiology=body)  # fmt: skip
                compile_s += found.compile_s
                if i:
                    rates.append(args.people * args.days / (time.perf_counter() - began - found.compile_s))
            speed, peak = float(np.median(rates)), round(peak_MiB())
            print(f"{body.__name__}, {name} | {compile_s:.1f} | {speed:.0f} | {speed / plain:.0f} | {peak}", flush=True)


def simglucose(python: str | None) -> str:
    """Patient-days a CPU second of simglucose's own loop, with its PID and sensor; or why there is none."""
    if python is None:
        return "not run: no environment that has it was given (--simglucose PYTHON)"
    done = subprocess.run([python, "-c", _SIMGLUCOSE], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"not run: {done.stderr.strip().splitlines()[-1]}"
    return f"{float(done.stdout.split()[-1]):.2f} patient-days a CPU second"


def memory() -> None:
    """Peak memory, each in a process of its own."""
    print("people | days | peak MiB | seconds")
    for people, days in ((1_000, 1), (10_000, 1), (100_000, 1), (1_000, 30)):
        code = _MEMORY.format(people=people, days=days)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        print(f"{people} | {days} | {done.stdout.strip()}", flush=True)


_MEMORY = """
import time
import jax
from benchmarks.scale import peak_MiB
from t1djax.trials import PID, trial
began = time.perf_counter()
trial({{"PID": PID()}}, {people}, days={days}, key=jax.random.key(0))
print(f"{{peak_MiB():.0f}} | {{time.perf_counter() - began:.0f}}")
"""
_SIMGLUCOSE = """
import time
import warnings
from datetime import datetime, timedelta
warnings.filterwarnings("ignore")
from simglucose.actuator.pump import InsulinPump
from simglucose.controller.pid_ctrller import PIDController
from simglucose.patient.t1dpatient import T1DPatient
from simglucose.sensor.cgm import CGMSensor
from simglucose.simulation.env import T1DSimEnv
from simglucose.simulation.scenario_gen import RandomScenario
start = datetime(2026, 1, 1)
env = T1DSimEnv(T1DPatient.withName("adult#001"), CGMSensor.withName("Dexcom", seed=1),
                InsulinPump.withName("Insulet"), RandomScenario(start_time=start, seed=1))
controller = PIDController(P=0.001, I=0.00001, D=0.001)
now = env.reset()
began = time.process_time()
while env.time < start + timedelta(days=1):
    now = env.step(controller.policy(now.observation, now.reward, now.done, **now.info))
print(1 / (time.process_time() - began))
"""


def plain_loop(days: int) -> float:
    """Patient-days a second of a loop as one writes it: Kanderian's first person, PID, steps of 5 min."""
    p = np.array([2010.0, 49.0, 47.0, 253.0, 0.0106, 1.33, 0.0022, 8.11e-4, 47.0])
    CI, tau1, tau2, VG, p2, EGP, GEZI, SI, tauM = p
    y = np.array([120.0, 10.0, 10.0, SI * 10.0, 0.0, 0.0])
    rng, integral, plasma, first, before = np.random.default_rng(0), 1.3, 1.3, 1.3, 120.0

    def rates(y: np.ndarray, u: float, r: float) -> np.ndarray:
        G, Isc, Ip, Ieff, R1, RA = y
        return np.array([
            -(GEZI + Ieff) * G + EGP + RA, (1e6 * u / CI - Isc) / tau1, (Isc - Ip) / tau2, p2 * (SI * Ip - Ieff),
            (r / VG - R1) / tauM, (R1 - RA) / tauM,
        ])  # fmt: skip

    began = time.perf_counter()
    for i in range(288 * days):
        reading = y[0] + 10 * rng.standard_normal()
        integral = min(max(integral + 0.02 * (reading - 120) / 90, 0.0), 4.0)
        wanted = 0.02 * (reading - 120 + 60 * (reading - before) / 5) + integral
        rate, before = max(1.5 * wanted - 0.5 * plasma, 0.0), reading
        first += 0.08 * (rate - first)
        plasma += 0.08 * (first - plasma)
        u, r = rate / 60, 4000.0 if i % 288 in (90, 91, 92, 150, 151, 152, 230, 231, 232) else 0.0
        k1 = rates(y, u, r)
        k2 = rates(y + 2.5 * k1, u, r)
        k3 = rates(y + 2.5 * k2, u, r)
        y = y + 5 / 6 * (k1 + 2 * k2 + 2 * k3 + rates(y + 5 * k3, u, r))
    return days / (time.perf_counter() - began)


if __name__ == "__main__":
    main()

"""Patient-days a second in closed loop: PID and MPC on each body, beside a plain NumPy loop of one person.

`python -m benchmarks.trials --people 1000 --days 14` prints a row for each body and controller, without compilation,
and the memory of the process; `--people 100000 --days 1` shows that it is flat.
"""

import argparse
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
    args = parser.parse_args()
    plain = plain_loop(1)
    print(f"NumPy, one person of Kanderian's after another, PID: {plain:.1f} patient-days/s")
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

"""The whole matrix, architectures by patients: what it takes, and what limits it."""

from pathlib import Path

from .problems import CLEAN, CLEAN_5
from .report import Report, progress
from .runners import NETWORKS, Scope, solve

_AGAIN = 3  # warm repetitions


def run(scope: Scope, out: Path) -> Report:
    """Seconds to compile and to run, for every architecture, at two intervals."""
    report = Report("matrix", "Three architectures by ten patients, noise-free", out, scope.settings())
    report.note(
        "One fit of the cohort from a fresh program, then the median of three more with other seeds, which need not "
        "compile. Errors are the largest over patients and all four fits. Limit: 1 % and 300 s in all."
    )
    for case in (CLEAN_5,) if scope.quick else (CLEAN_5, CLEAN):
        progress(case.name)
        cohort = case.reference(0, scope.names)
        total, worst, compiling = 0.0, 0.0, 0.0
        for model in NETWORKS:
            options = scope.options(model)
            steps: dict[str, int] = {}
            first = solve(
                model,
                [cohort],
                [0],
                case.free,
                options=options,
                on_progress=lambda p, steps=steps: steps.update(all=p.total_steps),
            )
            seeds = range(1, 2 if scope.quick else 1 + _AGAIN)
            again = solve(model, [cohort] * len(seeds), seeds, case.free, options=options)
            error = max(float(x.errors("ksi_error_percent").max()) for x in (first, again))
            seconds = first.compile_s + first.run_s
            total, worst, compiling = total + seconds, max(worst, error), compiling + first.compile_s
            report.add(
                {
                    "case": case.name,
                    "model": model,
                    "compile, s": first.compile_s,
                    "steps": steps["all"],
                    "run, s": first.run_s,
                    "total, s": seconds,
                    "run again, s": again.run_s,
                    "per step and patient, ms": 1000 * again.run_s / steps["all"] / len(cohort),
                    "ksi worst, %": error,
                    "compile share, %": 100 * first.compile_s / seconds,
                    "limited by": "compilation" if first.compile_s > first.run_s else "steps",
                    "verdict": "pass" if error < 1.0 else "FAIL",
                }
            )
        report.add(
            {
                "case": case.name,
                "model": "all",
                "compile, s": compiling,
                "total, s": total,
                "ksi worst, %": worst,
                "compile share, %": 100 * compiling / total,
                "verdict": "aim" if worst < 1 and total < 60 else "pass" if worst < 1 and total < 300 else "FAIL",
            }
        )
    return report

"""A child that was forked after a fit says what to do; it waited for ever."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, warnings
warnings.simplefilter("ignore")  # JAX's own, about the fork
import t1djax
from t1djax.programs._programs import ForkError
cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2"])
def child(what):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        what()
    except ForkError as e:
        os._exit(7 if "spawn" in str(e) else 1)
    os._exit(0)
print(child(lambda: t1djax.fit(cohort, model="ode")), child(lambda: t1djax.reference_cohort(interval_min=60)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_after_a_computation_is_told_to_spawn() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["7", "7"], done.stderr

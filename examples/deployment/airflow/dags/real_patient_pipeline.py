"""Files of people in, a report for each out; a bad file puts that person into quarantine. See docs/deployment.md."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from t1djax_command import FAILED_FITS, LABEL, NAME, RETRIES, WRONG_DATA, Refused, flags, label, results, t1djax

PARAMS = {
    "study": Param("patients", type="string", pattern=NAME, description="Folder for the results."),
    "inbox": Param(
        os.environ.get("T1DJAX_INBOX", ""), type="string", minLength=1,
        description="Folder of the files: one for each person, or a folder for each (Nightscout).",
    ),
    "glucose_unit": Param(None, type=["null", "string"], enum=[None, "mg/dL", "mmol/L"]),
    "basal_unit": Param(None, type=["null", "string"], enum=[None, "U/h", "U/min", "U/5min"]),
    "carbs_unit": Param(None, type=["null", "string"], enum=[None, "g", "exchange", "g/min", "none"]),
    "time_zone": Param(None, type=["null", "string"], description="IANA zone of local times."),
    "start": Param(None, type=["null", "string"], description="First time to keep, ISO 8601, local."),
    "hours": Param(None, type=["null", "number"], exclusiveMinimum=0, description="Length to keep, h."),
    "free": Param("ksi", type="string", minLength=1, description="Parameters to estimate."),
    "known": Param(None, type=["null", "array"], description="What is known of everybody, one per line: M=72"),
    "assume_population": Param(False, type="boolean", description="Take what nobody stated from the population."),
    "horizons": Param("30,60", type="string", description="Forecasts, min ahead."),
}  # fmt: skip
_READING = ("glucose_unit", "basal_unit", "carbs_unit", "time_zone", "start", "hours")


def _reading(params: Any) -> list[str]:
    return flags({name: params[name] for name in _READING})


def _out(params: Any, file: str) -> Path:
    return results(params["study"]) / "people" / Path(file).name


def _record(params: Any, file: str) -> Path:
    return results(params["study"]) / "quarantine" / f"{Path(file).name}.json"


@contextlib.contextmanager
def _quarantine(params: Any, file: str, step: str) -> Iterator[None]:
    """Where t1djax refuses this person's data, keep the reason and leave the person's other tasks out."""
    try:
        yield
    except Refused as e:
        record = _record(params, file)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"file": file, "step": step, "reason": str(e)}, indent=2) + "\n", encoding="utf-8")
        raise AirflowSkipException(f"quarantine: {step}: {e}") from e


@task
def ingest(params: Any = None) -> list[str]:
    """What lies in the inbox."""
    inbox = Path(params["inbox"])
    found = sorted(str(path.absolute()) for path in inbox.iterdir() if not path.name.startswith("."))
    if not found:
        raise AirflowFailException(f"{inbox} is empty")
    return found


@task(map_index_template=LABEL)
def check(file: str, params: Any = None) -> dict[str, Any]:
    """What the file holds; what is left of an earlier run goes."""
    label(Path(file).name)
    shutil.rmtree(_out(params, file), ignore_errors=True)
    _record(params, file).unlink(missing_ok=True)
    with _quarantine(params, file, "check"):
        done = t1djax("inspect", "--json", *_reading(params), "--", file, accept=(WRONG_DATA,))
        reports = done.json if isinstance(done.json, list) else [done.json]
        if problems := [problem for report in reports for problem in report["problems"]]:
            raise Refused("; ".join(problems))
    return {"readings": [report["readings"] for report in reports]}


@task
def convert(file: str, params: Any = None) -> str:
    """As the library's own tables."""
    cohort = _out(params, file) / "cohort"
    with _quarantine(params, file, "convert"):
        t1djax("convert", "--overwrite", f"--out={cohort}", *_reading(params), "--", file)
    return str(cohort)


@task
def identify(file: str, cohort: str, params: Any = None) -> str:
    """Parameters, and what the readings tell of them."""
    out = _out(params, file) / "identified"
    how = flags({name: params[name] for name in ("free", "known", "assume_population")})
    with _quarantine(params, file, "identify"):
        t1djax("identify", "--overwrite", f"--out={out}", *how, "--", cohort, accept=(FAILED_FITS,))
    return str(out)


@task
def forecast(file: str, cohort: str, params: Any = None) -> str:
    """Every reading's forecasts, scored."""
    out = _out(params, file) / "forecasts"
    with _quarantine(params, file, "forecast"):
        t1djax("forecast", "--overwrite", f"--out={out}", *flags({"horizons": params["horizons"]}), "--", cohort)
    return str(out)


@task
def report(file: str, cohort: str, identified: str, params: Any = None) -> str:
    """A page that people read."""
    page = _out(params, file) / "report.html"
    told = ["--forecast", f"--identified={identified}", f"--title={Path(file).name}"]
    with _quarantine(params, file, "report"):
        t1djax("report", "--overwrite", f"--out={page}", *told, "--", cohort)
    return str(page)


@task_group
def person(file: str) -> None:
    """One file."""
    checked = check(file)
    cohort = convert(file)
    checked >> cohort
    forecast(file, cohort) >> report(file, cohort, identify(file, cohort))


@task(trigger_rule="all_done")
def summarise(files: list[str], params: Any = None) -> dict[str, Any]:
    """Who got a report, and why others did not."""
    pages = {file: _out(params, file) / "report.html" for file in files}
    refused = {file: json.loads(_record(params, file).read_text()) for file in files if _record(params, file).exists()}
    told = {
        "reports": {file: str(page) for file, page in pages.items() if page.exists() and file not in refused},
        "quarantined": {file: f"{why['step']}: {why['reason']}" for file, why in refused.items()},
    }
    (results(params["study"]) / "summary.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=2))
    if not told["reports"]:
        raise AirflowFailException("nobody got a report: see the reasons, and the units in the form")
    return told


@task(trigger_rule="none_failed")
def complete() -> None:
    """Runs if nothing broke; a quarantine is no break."""


@dag(
    params=PARAMS,
    default_args=RETRIES,
    max_active_runs=1,
    catchup=False,
    schedule=None,
    tags=["t1djax"],
    doc_md=__doc__,
)
def real_patient_pipeline() -> None:
    """Ingest; for each file check, convert, identify, forecast, report; summarise."""
    people = person.expand(file=(files := ingest()))
    people >> summarise(files) >> (end := complete())
    people >> end


real_patient_pipeline()

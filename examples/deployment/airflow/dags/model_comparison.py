"""Evaluate the models of a study and send each through the gate to `champion`. See docs/deployment.md."""

from typing import Any

from airflow.sdk import Param, dag, task, task_group
from t1djax_command import LABEL, NAME, REFUSED_PROMOTION, RETRIES, label, mlflow_of, results, t1djax

PARAMS = {
    "study": Param("study", type="string", pattern=NAME, description="As `comprehensive_training` was told."),
    "name": Param("cohort", type="string", pattern=NAME, description="The registered model."),
    "target_mg_dL": Param(15.0, type="number", exclusiveMinimum=0, description="Each patient's error is below this."),
    "mode": Param("inverse", type="string", enum=["forward", "inverse"]),
    "seed": Param(0, type="integer", minimum=0, description="Which fit of each patient."),
    "alias": Param("champion", type="string", pattern=NAME, description="What the best becomes."),
}


@dag(
    params=PARAMS,
    default_args=RETRIES,
    max_active_runs=1,
    catchup=False,
    schedule=None,
    tags=["t1djax"],
    doc_md=__doc__,
)
def model_comparison() -> None:
    """Evaluate, register, promote, tell."""

    @task
    def evaluate(params: Any = None) -> list[dict[str, Any]]:
        """One table of all results; the folders of each model."""
        study = results(params["study"])
        models = sorted({str(path.parent.parent) for path in study.glob("*/*/metadata.json")})
        rows = t1djax("evaluate", f"--output={study / 'comparison.csv'}", "--json", "--", *models, show=False).json
        t1djax("evaluate", "--", *models)
        folders: dict[str, list[str]] = {}
        for row in rows:
            if (row["mode"], row["seed"]) == (params["mode"], params["seed"]):
                folders.setdefault(row["model"], []).append(row["folder"])
        return [{"model": model, "folders": found} for model, found in folders.items()]

    @task_group
    def gate(candidate: dict[str, Any]) -> None:
        """One model."""

        @task(map_index_template=LABEL, max_active_tis_per_dagrun=1)
        def register(candidate: dict[str, Any], params: Any = None) -> str:
            """A version of the registered model; the same results again are the version there is."""
            label(candidate["model"])
            call = "registry", "register", f"--name={params['name']}", "--json", "--", *candidate["folders"]
            return str(t1djax(*call, mlflow=mlflow_of(results(params["study"]))).json["version"])

        @task(max_active_tis_per_dagrun=1)
        def promote(version: str, params: Any = None) -> dict[str, Any]:
            """Through the gate, one after another: the best is the champion in the end."""
            return t1djax(
                "registry", "promote", "--json", f"--name={params['name']}", f"--version={version}",
                f"--target={params['target_mg_dL']}", f"--alias={params['alias']}",
                accept=(REFUSED_PROMOTION,), mlflow=mlflow_of(results(params["study"])),
            ).json  # fmt: skip

        promote(register(candidate))

    @task(trigger_rule="all_done")
    def champion(params: Any = None) -> dict[str, Any] | None:
        """Who holds the alias now."""
        call, mlflow = ("registry", "list", f"--name={params['name']}"), mlflow_of(results(params["study"]))
        t1djax(*call, mlflow=mlflow)
        versions = t1djax(*call, "--json", show=False, mlflow=mlflow).json
        return next((version for version in versions if params["alias"] in version["aliases"]), None)

    @task
    def complete() -> None:
        """Runs if all went well."""

    gates = gate.expand(candidate=evaluate())
    gates >> champion() >> (end := complete())
    gates >> end


model_comparison()

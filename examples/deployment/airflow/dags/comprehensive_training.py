"""All models on all patients, one task per model. See docs/deployment.md."""

import json
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink, Context, Param, dag, task
from t1djax_command import FAILED_FITS, NAME, POOL, RETRIES, TRAIN_TIMEOUT, flags, links, results, t1djax

MODELS = ["pinn", "modified_mlp", "birnn", "ode"]
PARAMS = {
    "study": Param("study", type="string", pattern=NAME, description="Folder for the results; again, it goes on."),
    "models": Param(MODELS, type="array", examples=MODELS, minItems=1, uniqueItems=True),
    "modes": Param(["inverse"], type="array", examples=["forward", "inverse"], minItems=1, uniqueItems=True),
    "inverse_params": Param(["ksi"], type="array", description="Sets to estimate, one per line: ksi,kl"),
    "data": Param("reference", type="string", minLength=1, description="Folder of a cohort, file, or `reference`."),
    "patients": Param("all", type="string", minLength=1, description="all, or names: A,B"),
    "seeds": Param(1, type="integer", minimum=1, description="Fits per patient."),
    "seed": Param(0, type="integer", minimum=0, description="The first seed."),
    "noise": Param(None, type=["null", "string"], enum=[None, "none", "white", "ar1", "breton-kovatchev"]),
    "interval_min": Param(None, type=["null", "number"], exclusiveMinimum=0, description="Minutes between readings."),
    "assume_population": Param(False, type="boolean", description="Take what nobody stated from the population."),
    "config": Param(None, type=["null", "string"], description="YAML file of a sweep, for what this form has not."),
    "checkpoint_every": Param(5, type="integer", minimum=1, description="Chunks of steps between two checkpoints."),
    "batch": Param(None, type=["null", "integer"], minimum=1, description="Most fits that train together."),
    "figures": Param(True, type="boolean"),
    "tracking": Param(True, type="boolean", description="Log to MLflow."),
}
_OF_THE_SWEEP = (
    "modes", "inverse_params", "data", "patients", "seeds", "seed", "noise", "interval_min", "assume_population",
    "config", "batch",
)  # fmt: skip


def _sweep(params: Any, models: list[str]) -> list[str]:
    options = {name: params[name] for name in _OF_THE_SWEEP} | {"models": ",".join(models)}
    return ["sweep", *flags(options | {"modes": ",".join(params["modes"])})]


class MLflowRun(BaseOperatorLink):
    """The run of a model's sweep in MLflow."""

    name = "MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Known once the task is done."""
        return getattr(operator, "mlflow_url", "")


class Train(BaseOperator):
    """`t1djax sweep` of one model; a second try goes on from the last checkpoint.

    Args:
        model: as `--models` takes it.
    """

    operator_extra_links = (MLflowRun(),)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.mlflow_url = model, ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Train."""
        params = context["params"]
        folder = results(params["study"]) / self.model
        how = {"results": folder, "checkpoint_every": params["checkpoint_every"]}
        how |= {word if params[word] else f"no_{word}": True for word in ("figures", "tracking")}
        t1djax(*_sweep(params, [self.model]), *flags(how), accept=(FAILED_FITS,))
        comparison = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["comparison"]
        pages = links(folder) if params["tracking"] else []
        self.mlflow_url = next((page for page in pages if page.startswith("http")), "")
        return {"folder": str(folder), "comparison": comparison, "mlflow": pages[:20]}


@dag(
    params=PARAMS,
    default_args=RETRIES,
    max_active_runs=1,
    catchup=False,
    schedule=None,
    tags=["t1djax"],
    doc_md=__doc__,
)
def comprehensive_training() -> None:
    """Plan, train each model, collect."""

    @task
    def plan(params: Any = None) -> list[str]:
        """Check what was asked for, without fitting."""
        t1djax(*_sweep(params, params["models"]), "--dry-run")
        return list(params["models"])

    @task(trigger_rule="all_done")
    def collect(params: Any = None) -> str:
        """One table of whatever is finished, also where another model failed."""
        study = results(params["study"])
        there = [str(study / model) for model in params["models"] if list((study / model).glob("*/metadata.json"))]
        t1djax("evaluate", f"--output={study / 'summary.csv'}", "--", *there)
        return str(study / "summary.csv")

    @task
    def complete() -> None:
        """Runs if all went well: the run of the DAG is red where a model failed."""

    train = Train.partial(
        task_id="train", pool=POOL, execution_timeout=TRAIN_TIMEOUT, map_index_template="{{ task.model }}"
    ).expand(model=plan())
    train >> collect() >> (end := complete())
    train >> end


comprehensive_training()

"""The model's code as MLflow keeps it: it reads the fitted patients and hands requests to the library.

It is run by MLflow, never imported: its folder is no package.
"""

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from t1djax.io import read_fitted_cohort
from t1djax.registry import answer


class FittedModel(PythonModel):
    """Forecasts of the patients in the artifact `patients`."""

    def load_context(self, context):
        self.models = read_fitted_cohort(context.artifacts["patients"])

    def predict(self, context, model_input: pd.DataFrame, params=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        return answer(self.models, model_input, params)


set_model(FittedModel())

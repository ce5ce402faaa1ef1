"""How things are called in MLflow."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ..io import run_name
from ..records import RunInfo

_MODELS = {"pinn": "PINN", "modified_mlp": "ModifiedMLP", "birnn": "BIRNN", "ode": "ODE"}
_MOST_KEY, _MOST_PARAM = 250, 6000
LEARNT_FROM = "t1djax.learnt_from."
"""How the tags begin that name the people of whom a run is a forecaster, one each."""


def experiment_name(model: str, mode: str) -> str:
    """`{MODEL}_{Mode}`.

    Example:
        >>> from t1djax.tracking import experiment_name
        >>> experiment_name("modified_mlp", "inverse")
        'ModifiedMLP_Inverse'
    """
    stated = _MODELS.get(model) or "".join(word[:1].upper() + word[1:] for word in re.split(r"[_\s]+", model))
    return f"{stated}_{mode.capitalize()}"


def parent_key(info: RunInfo) -> str:
    """What tells the parent run of a sweep, model and mode from others."""
    return as_tag(f"{info.sweep}/{info.model}_{info.mode}")


def row_key(info: RunInfo, row: tuple[str, int]) -> str:
    """What tells the run of a patient and seed from others."""
    return as_tag(f"{info.name}/{row[0]}-s{row[1]}")


def row_name(info: RunInfo, row: tuple[str, int]) -> str:
    """The run's name for people, that of its folder."""
    return run_name(info.model, info.mode, row[0], info.named, info.started, row[1])


def params(config: Mapping[str, Any]) -> dict[str, str]:
    """A nested configuration as flat params, within the lengths that MLflow takes; what is empty or none is left out.

    Example:
        >>> from t1djax.tracking import params
        >>> params({"seed": 0, "network": {"width": 32, "stages": [{"steps": 100}]}, "priors": {}, "config": None})
        {'seed': '0', 'network.width': '32', 'network.stages.0.steps': '100'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if value is None or (isinstance(value, str | Mapping | list | tuple) and not value):
            continue
        inside = value if isinstance(value, Mapping) else None
        if isinstance(value, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in value):
            inside = {str(i): v for i, v in enumerate(value)}
        if inside:
            flat |= {as_key(f"{key}.{k}"): v for k, v in params(inside).items()}
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[as_key(str(key))] = text[:_MOST_PARAM]
    return flat


def as_key(text: str) -> str:
    """A name that every store takes for a param or metric."""
    return re.sub(r"[^\w\-. /]", "_", text, flags=re.ASCII)[:_MOST_KEY]


def as_tag(text: str) -> str:
    """A text as a tag that can be searched for; different texts give different tags.

    Example:
        >>> from t1djax.tracking._names import as_tag
        >>> as_tag("O'Neill"), as_tag("O_Neill")
        ('O~27Neill', 'O_Neill')
    """
    return re.sub(r"['\"`\\%~]", lambda found: f"~{ord(found[0]):02x}", text)

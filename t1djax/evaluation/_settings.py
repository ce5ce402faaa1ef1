"""What tells experiments of one model apart: the fields of the configuration in which they differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._words import some

_SHOWN = 4  # fields of a configuration in a label
_NO_SETTINGS = ("results", "members")  # members are the seeds of one experiment


def named(metadata: Mapping[str, Any]) -> str:
    """The set of parameters that a result estimates, `+` between them."""
    return "+".join(metadata.get("named_parameters", ()))


def settings_of(metadata: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each result what tells its experiment from others of the same model, mode and parameters."""
    labels = [""] * len(metadata)
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, m in enumerate(metadata):
        alike.setdefault((m["model"], m["mode"], named(m)), []).append(i)
    for which in alike.values():
        configs = [
            dict(_leaves({k: v for k, v in _config(metadata[i]).items() if k not in _NO_SETTINGS})) for i in which
        ]
        keys = dict.fromkeys(key for config in configs for key in config)
        differing = [key for key in keys if len({config.get(key, "-") for config in configs}) > 1]
        if not differing:
            continue
        by_values: dict[tuple[str, ...], str] = {}
        for i, config in zip(which, configs, strict=True):
            own = tuple(config.get(key, "-") for key in differing)
            if own not in by_values:
                pairs = [f"{key} {value}" for key, value in zip(differing, own, strict=True)]
                text = some(pairs, _SHOWN)
                alone = text not in by_values.values()
                by_values[own] = text if alone else f"{text} ({len(by_values) + 1})"
            labels[i] = by_values[own]
    return labels


def _config(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    config = metadata.get("config")
    return config if isinstance(config, Mapping) else {}


def _leaves(x: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """The values of nested records by their places, in words."""
    if isinstance(x, Mapping) or (isinstance(x, list | tuple) and any(isinstance(v, Mapping) for v in x)):
        for key, value in x.items() if isinstance(x, Mapping) else enumerate(x):
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    elif isinstance(x, list | tuple):
        yield at, "+".join(map(str, x)) or "-"
    else:
        yield at, "-" if x is None else f"{x:.12g}" if isinstance(x, float) else str(x)

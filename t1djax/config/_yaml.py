"""Configurations from YAML files, with overrides on top."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from .._arguments import as_code, place
from ._base import ConfigError, MissingPathError, Strict, flat, merge, say

_MOST_VALUES = 100_000


class Loader(yaml.SafeLoader):
    """Safe YAML in which no key stands twice, `3e-3` is a number, and aliases do not multiply without end."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > _MOST_VALUES:
            problem = f"its aliases (*name) make more than {_MOST_VALUES:,} values of it; write them out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node comes to, with every alias written out; one that holds itself, without end."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = [part for one in node.value for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(node)]


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


Config = TypeVar("Config", bound=Strict)


def read_yaml(path: str | Path, expected: str) -> dict[Any, Any]:
    """The fields that a file states; none where it is empty.

    Raises:
        MissingPathError: where there is no such file.
        ConfigError: where it cannot be read, or is no mapping.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError as e:
        raise MissingPathError(f"{path}: there is no such file; name a YAML file") from e
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read ({e.strerror}); name a YAML file") from e
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise ConfigError(f"{path}: is not valid YAML: {e}") from e
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path}: must be {expected}")
    return values or {}


def validated(
    kind: type[Config],
    path: str | Path | None,
    values: Mapping[Any, Any],
    overrides: Mapping[str, Any] | None,
    *,
    context: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of a file's values, with overrides on top.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    try:
        return kind.model_validate(merge(values, overrides or {}), context=context)
    except pydantic.ValidationError as e:
        where = f"{path}: " if path is not None else ""
        top = kind.__name__.removesuffix("Config").lower()
        at = place if path is None else as_code  # a file has the names of the fields
        lines = [f"  {at(x['loc']) if x['loc'] else top}: {say(x, kind)}" for x in flat(e.errors())]
        raise ConfigError(f"{where}the configuration is not valid\n" + "\n".join(dict.fromkeys(lines))) from e

"""Configurations from YAML files, with overrides on top."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from ._base import ConfigError, Strict, flat, merge, say


class Loader(yaml.SafeLoader):
    """Safe YAML in which no key stands twice and `3e-3` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


_Config = TypeVar("_Config", bound=Strict)


def load(kind: type[_Config], path: str | Path | None, overrides: Mapping[str, Any] | None, expected: str) -> _Config:
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader) or {}
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror}); name a YAML file") from e
        except (yaml.YAMLError, ValueError, RecursionError) as e:
            raise ConfigError(f"{path}: is not valid YAML: {e}") from e
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: must be {expected}")
    try:
        return kind.model_validate(merge(values, overrides or {}))
    except pydantic.ValidationError as e:
        where = f"{path}: " if path is not None else ""
        top = kind.__name__.removesuffix("Config").lower()
        lines = [f"  {'.'.join(map(str, x['loc'])) or top}: {say(x)}" for x in flat(e.errors())]
        raise ConfigError(f"{where}the configuration is not valid\n" + "\n".join(lines)) from e

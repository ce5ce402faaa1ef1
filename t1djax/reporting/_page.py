"""Pages from templates: each one file that loads nothing from anywhere."""

import importlib.resources
from importlib.metadata import version
from typing import Any


def rendered(template: str, **values: Any) -> str:
    """A page from the template beside this module; every value is escaped."""
    import jinja2  # noqa: PLC0415 - only pages need it

    room = importlib.resources.files(__package__ or "t1djax.reporting")
    text = lambda name: room.joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    return environment.from_string(text(template)).render(**values, style=text("page.css"), version=version("t1djax"))

"""Sphinx: strict, self-contained, with the API made from the package itself."""

import dataclasses
import hashlib
import inspect
import re
import sys
import typing
from pathlib import Path

import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx.ext.napoleon import GoogleDocstring

# jaxtyping then prints `Float[Array, "times"]` as it is written.
typing.GENERATING_DOCUMENTATION = True  # pyright: ignore[reportAttributeAccessIssue]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from surface import TASKS, Attribute, attribute_docs, is_data, public_names, rooms  # noqa: E402

import t1djax  # noqa: E402
from t1djax._plotted import Plotted  # noqa: E402

project = "t1djax"
author = "The t1djax authors"
project_copyright = "2026, The t1djax authors"
release = t1djax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_design"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "tutorials/notebooks"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
default_role = "literal"
nitpicky = True
# Types of other packages, which these pages do not describe.
nitpick_ignore_regex = [
    ("py:class", r"(?!t1djax\.).*"),
    # Parts that are passed on whole, and are described where they are made; states of bodies are in their equations.
    ("py:class", r"t1djax\.\w+\._\w+\.\w+"),
    ("py:class", r"t1djax\.question\.QuestionFields"),
    ("py:exc", r"(NoRest|Physiology)Error"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# A tutorial is run in an empty folder, again whenever its cells or the package change, and may print no warning.
sources = b"".join(file.read_bytes() for file in sorted(Path(t1djax.__path__[0]).rglob("*.py")))
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks" / hashlib.sha256(sources).hexdigest()[:16])
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_output_stderr = "remove-warn"
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["t1djax.css"]
html_js_files = ["t1djax.js"]
html_favicon = "_static/favicon.svg"
html_title = f"t1djax {release}"
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"


READING = """
One page for each name. What stands under *first hour* is at the top level, `t1djax.fit`; the rest is in the namespace
that its name begins with. Units stand in every entry.

Shapes stand in the types. `Float[Array, 'times']` is an array of JAX with one axis, `Float[ndarray, 'rows']` one of
NumPy. Axes of one name have one length; `''` is a single number; `*batch` is any number of leading axes, such as
that of the patients. A `PRNGKeyArray` is a random key, such as `jax.random.key(0)`.
"""


def write_api_pages() -> None:
    """Write a page for every public name, and their list by task, so that a new export cannot be forgotten."""
    docs, room = attribute_docs(t1djax), rooms(t1djax)
    pages: dict[str, str] = {}
    listed: dict[str, dict[str, list[str]]] = {task: {"First hour": [], "More": []} for task in TASKS}
    for name, value in PUBLIC.items():
        space, _, short = name.rpartition(".")
        if is_data(value):
            entry, line = [f".. py:data:: t1djax.{name}", "", *indent(linked(docs[short].doc)), ""], docs[short].doc
        else:
            value.__module__ = f"t1djax.{space}".rstrip(".")  # annotations then refer to the public name
            line = inspect.getdoc(value) or ""
            entry = class_entry(name, docs) if isinstance(value, type) else [f".. autofunction:: t1djax.{name}", ""]
        page = page_of(name)
        pages[page] = "\n".join([":orphan:", "", short, "=" * len(short), "", *entry])
        task = next(task for task, each in TASKS.items() if room[name] in each)
        first = linked(re.split(r"(?<=\.)\s", line.partition("\n\n")[0].replace("\n", " "))[0])
        listed[task]["More" if space else "First hour"] += [f"   * - :doc:`{name} <{page}>`", f"     - {first}"]
    index = ["API", "===", READING]
    for task, parts in listed.items():
        index += [task, "-" * len(task), ""]
        for title, rows in parts.items():
            index += [f".. list-table:: {title}", "   :widths: 30 70", "", *rows, ""] if rows else []
    pages["index"] = "\n".join(index)
    folder = HERE / "api"
    for page, text in pages.items():
        file = folder / f"{page}.rst"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text + "\n":
            file.write_text(text + "\n", encoding="utf-8")
    for file in folder.rglob("*.rst"):
        if str(file.relative_to(folder).with_suffix("")) not in pages:
            file.unlink()


PUBLIC = public_names(t1djax)


def page_of(name: str) -> str:
    """Where a name is described; classes have a folder of their own: to some disks `Fit` and `fit` are one name."""
    return f"types/{name}" if isinstance(PUBLIC[name], type) else name


def class_entry(name: str, docs: dict[str, Attribute]) -> list[str]:
    """A class with its fields first, which autodoc does not find under the public name."""
    short = name.rpartition(".")[2]
    fields = {key.split(".")[1]: field for key, field in docs.items() if key.startswith(f"{short}.")}
    fields = {key: field for key, field in fields.items() if not key.startswith("_")}
    lines = [f".. autoclass:: t1djax.{name}", "   :members:"]
    lines += ["   :special-members: __call__"] if written(PUBLIC[name], "__call__") else []
    lines += [f"   :exclude-members: {', '.join(fields)}", ""] if fields else [""]
    lines += [f"   .. automethod:: t1djax.{name}.plot", ""] if issubclass(PUBLIC[name], Plotted) else []
    for key, field in fields.items():
        lines += [f"   .. py:attribute:: {key}"]
        lines += [f"      :type: {without_checks(field.annotation)}"] if field.annotation else []
        lines += ["", *indent(linked(field.doc), 6), ""]
    return lines


def written(value: type, method: str) -> bool:
    """Whether somebody wrote a method of a class, rather than a decorator."""
    code = getattr(inspect.unwrap(vars(value).get(method, lambda: None)), "__code__", None)
    return code is not None and code.co_name == method and code.co_filename.startswith(t1djax.__path__[0])


def linked(text: str) -> str:
    """Public names between backticks as links; a small word is one only after "see", for it may mean something else."""
    return NAMED.sub(
        lambda found: (
            f"{found[1] or ''}:py:obj:`~t1djax.{LINKS[found[2]]}`"
            if found[2] in LINKS and (found[1] or not found[2].islower() or "_" in found[2])
            else found[0]
        ),
        text,
    )


NAMED = re.compile(r"(\b[Ss]ee )?(?<!`)`(\w+)`(?!`)")
LINKS = {name.rpartition(".")[2]: name for name in PUBLIC}


def without_checks(annotation: str) -> str:
    """`X` for `Annotated[X, ...]`: what pydantic checks beside the type stands in the text."""
    while found := re.search(r"~?(typing\.)?Annotated\[", annotation):
        first, depth, comma = found.end(), 1, None
        for end in range(first, len(annotation)):
            depth += (annotation[end] in "[({") - (annotation[end] in "])}")
            if depth == 1 and annotation[end] == "," and comma is None:
                comma = end
            if depth == 0:
                annotation = annotation[: found.start()] + annotation[first:comma] + annotation[end + 1 :]
                break
    return annotation


def indent(text: str, by: int = 3) -> list[str]:
    """The lines of a text, moved to the right."""
    return [" " * by + line if line else "" for line in text.splitlines()]


def readable_signature(app, what, name, obj, options, signature: str | None, returns: str | None):
    """Defaults that factories make are shown as what they make, and types without what pydantic checks."""
    signature = without_checks(signature or "")
    fields = dataclasses.fields(obj) if dataclasses.is_dataclass(obj) else getattr(obj, "model_fields", {}).values()
    for factory in (field.default_factory for field in fields):
        if factory not in (None, dataclasses.MISSING):
            signature = signature.replace("<factory>", "{}" if factory is dict else f"{factory.__name__}()", 1)
    return signature or None, returns


def fences_to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings fence their equations as Markdown does; a class says what its constructor takes."""
    if what == "class" and written(obj, "__init__"):
        lines += ["", *(inspect.getdoc(obj.__init__) or "").splitlines()]
    inside, out = False, []
    for line in lines:
        if re.match(r"\s*```", line):
            out += [] if inside else ["::", ""]
            inside = not inside
            if not inside:
                out.append("")
        else:
            out.append(f"    {line}" if inside else line if ">>>" in line else linked(line))
    lines[:] = out


def write_notebooks() -> None:
    """Write each tutorial as a notebook to download, without outputs."""
    folder = HERE / "tutorials" / "notebooks"
    folder.mkdir(exist_ok=True)
    for page in sorted((HERE / "tutorials").glob("*.md")):
        text = nbformat.writes(read_myst_markdown_notebook(page.read_text(encoding="utf-8")))
        file = folder / f"{page.stem}.ipynb"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def visit_math(self, node) -> None:
    """Formulas as MathML, which browsers show without a script."""
    display = "block" if node.tagname == "math_block" else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def for_screen_readers(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Captions of the navigation get the level of a heading; parameters, which are no definitions, leave their list."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if "sig-param" in context.get("body", ""):
        context["body"] = SIGNATURE.sub(
            lambda found: (
                '<div class="sig-list">' + found[1].replace("<dd>", "<div>").replace("</dd>", "</div>") + "</div>"
            ),
            context["body"],
        )


SIGNATURE = re.compile(r"<dl>\s*((?:<dd>(?:(?!</?d[ld]\b).)*</dd>\s*)+)</dl>", re.DOTALL)


# Napoleon would read "Insulin at rest, U/dL: ..." above a property as the name of a type.
GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end  # pyright: ignore
# Likewise "By name: ..." below Returns.
GoogleDocstring._consume_returns_section = lambda self, preprocess_types=False: [  # pyright: ignore
    ("", "", self._dedent(self._consume_to_next_section()))
]


def setup(app) -> None:
    """Connect the hooks."""
    write_api_pages()
    write_notebooks()
    app.connect("autodoc-process-docstring", fences_to_rst, priority=100)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("html-page-context", for_screen_readers, priority=900)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))

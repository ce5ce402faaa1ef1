"""What the command line and the library say: exit codes, progress, names of arguments and flags, symbols, plurals."""

import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import t1djax
from t1djax import cli, plotting
from t1djax._arguments import argument, written
from t1djax.cli._exit import EXIT_CODES, exit_code
from t1djax.cli._fields import Values, flags_of, with_flags
from t1djax.cli._flags import as_flags
from t1djax.config import BESIDE, MissingPathError
from t1djax.physics import INITIAL_STATES, with_derived
from t1djax.records import SYMBOLS, Misfit, PatientIdentification, legend
from t1djax.registry import NotRegisteredError, RegistryError, UnreachableError

from .command import call, refused

ROOT = Path(__file__).parents[1]
PACKAGE = Path(t1djax.__file__).parent  # as installed: the checkout may be without it


# Exit codes

MISSING = {
    "train": ("--data", "nowhere"),
    "sweep": ("--config", "nowhere.yaml"),
    "identify": ("nowhere.csv",),
    "forecast": ("nowhere",),
    "report": ("reference", "--patients", "2", "--interval-min", "60", "--identified", "nowhere"),
    "inspect": ("nowhere.csv",),
    "convert": ("nowhere.csv", "--out", "cohort"),
    "replay": ("nowhere", "--bolus=-20%"),
    "settings": ("nowhere",),
    "population train": ("nowhere", "--out", "own.json"),
    "trial": ("nowhere.yaml",),
    "evaluate": ("nowhere",),
    "plot": ("nowhere",),
    "diff": ("nowhere", "nowhere"),
    "forget": ("Ada", "--data", "nowhere", "--dry-run"),
    "track sync": ("nowhere",),
    "track status": ("nowhere",),
    "track runs": ("nowhere",),
    "registry register": ("nowhere", "--name", "x"),
    "registry list": ("--results", "nowhere"),
    "registry promote": ("--name", "x", "--version", "1", "--target", "9", "--results", "nowhere"),
    "registry load": ("--name", "x", "--out", "models", "--results", "nowhere"),
}
"""How each command is asked for something that is not there."""
READS_NOTHING = {"simulate"}


def commands(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


EVERY = sorted(commands(typer.main.get_command(cli.app)))


def test_every_command_is_asked() -> None:
    assert set(EVERY) == set(MISSING) | READS_NOTHING


@pytest.mark.parametrize("command", sorted(MISSING))
def test_what_is_not_there_ends_with_one_code(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = call(*command.split(), *MISSING[command])
    assert said.code == 3, said
    assert "nowhere" in said.err + said.out
    assert "Errno" not in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", EVERY)
def test_an_unknown_flag_ends_with_one_code_and_help_has_an_example(command: str) -> None:
    assert call(*command.split(), "--no-such-flag").code == 2
    said = call(*command.split(), "--help")
    assert said.code == 0
    assert "Example: t1djax " in said.out


@pytest.mark.parametrize("command", [("simulate", "--patients", "2", "--interval-min", "60", "--out"),
                                     ("identify", "reference", "--patients", "2", "--preflight", "--out"),
                                     ("report", "reference", "--patients", "2", "--out")])  # fmt: skip
def test_an_output_that_is_there_ends_with_2(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = call(*command, tmp_path / "file")
    assert said.code == 2, said
    assert "Errno" not in said.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (t1djax.io.Stopped("at step 3"), 143),
        (t1djax.DataError([]), 3),
        (t1djax.io.ResultError("gone"), 3),
        (t1djax.io.CheckpointError("damaged"), 3),
        (MissingPathError("a.yaml: there is no such file"), 3),
        (NotRegisteredError("no such version"), 3),
        (KeyError("no patient 'Ada'"), 3),
        (FileNotFoundError("x: holds no tracked runs"), 3),
        (FileNotFoundError(2, "No such file or directory", "/proc/x"), 1),
        (UnreachableError("does not answer"), 1),
        (t1djax.tracking.TrackingError("does not answer"), 1),
        (PermissionError(13, "Permission denied", "x"), 1),
        (MemoryError("21 TiB"), 1),
        (RegistryError("name=a/b"), 2),
        (t1djax.config.ConfigError("wrong"), 2),
        (t1djax.UnidentifiableError("wrong"), 2),
        (FileExistsError("x is not empty"), 2),
        (IsADirectoryError(21, "Is a directory", "x"), 2),
        (ImportError("tracking needs MLflow"), 2),
        (ModuleNotFoundError("No module named 'jaxx'", name="jaxx"), None),
        (TypeError("a fault of ours"), None),
        (IndexError("a fault of ours"), None),
    ],
)
def test_code_of_an_error(error: Exception, code: int | None) -> None:
    assert exit_code(error) == code
    assert code is None or code in EXIT_CODES


def test_a_fault_of_the_program_shows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr("t1djax.cli._results.find_results", broken)
    monkeypatch.setattr(sys, "argv", ["t1djax", "evaluate", "x"])
    with pytest.raises(TypeError, match="ours"):
        cli.main()


# Arguments and flags


@pytest.mark.parametrize(
    ("command", "name", "values", "flag"),
    [
        ("identify", "glucose_unit", ("mg/dL", "mmol/L"), "--glucose-unit mg/dL or mmol/L"),
        ("train", "assume_population", (True,), "--assume-population"),
        ("convert", "day_first", (True,), "--day-first"),
        ("convert", "day_first", (False,), "--month-first"),
        ("convert", "day_first", (), "--day-first or --month-first"),
        ("inspect", "columns", ("time=Zeit,glucose=CGM (x)",), "--columns 'time=Zeit,glucose=CGM (x)'"),
        ("simulate", "carbs_unit", (), "--carbs-unit (a flag of `t1djax convert`)"),
        ("inspect", "known", ({"M": 72, "kl": 1.9},), "--known M=72,kl=1.9 (a flag of `t1djax train`)"),
        ("identify", "length_h", (8,), "--windows 8"),
        ("identify", "noise_sd_mg_dL", (), "--noise-level"),
        ("train", "free", (["ksi", "kl"],), "--free ksi,kl"),
        ("registry promote", "alias", ("v1",), "--alias v1"),
        ("forget", "names_only", (True,), "--names-only"),
        ("train", "options", (), "options"),
    ],
)
def test_an_argument_is_a_flag_on_the_command_line(command: str, name: str, values: tuple[Any, ...], flag: str) -> None:
    assert as_flags((name,), *values, arguments=command.split()) == flag


def test_an_argument_is_written_as_who_shows_it_writes_arguments() -> None:
    error = t1djax.ArgumentError(("priors", "ksi"), "is odd")
    assert str(error) == "priors.ksi: is odd"
    with written(lambda path, *values: as_flags(path, *values, arguments=["train"])):
        assert str(error) == "--prior ksi: is odd"
        assert argument("free", ["ksi"]) == "--free ksi"
    assert argument("free", ["ksi", "kl"]) == 'free=["ksi", "kl"]'
    assert argument("glucose_unit", "mg/dL", "mmol/L") == 'glucose_unit="mg/dL" or "mmol/L"'


def test_nothing_rewrites_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an equals sign in it is no argument."""
    monkeypatch.chdir(tmp_path)
    said = call("train", "--model", "ode", "--data", "seed=late", "--results", "r")
    assert said.code == 3
    assert "seed=late" in said.err
    assert "--seed" not in said.err


# Flags are made of fields


def flags(command: str) -> dict[str, Any]:
    return {p.name: p for p in typer.main.get_command(cli.app).commands[command].params}  # type: ignore[attr-defined]


def test_every_field_of_a_question_is_a_flag_and_a_name_in_a_file() -> None:
    assert set(BESIDE) <= set(t1djax.Experiment.names())
    assert set(BESIDE) <= set(flags("train"))
    assert set(BESIDE) - {"mode", "inverse_params"} <= set(flags("sweep"))
    assert set(BESIDE.values()) - {"mode"} <= set(flags("identify"))


@dataclasses.dataclass(frozen=True)
class Inner:
    weight_kg: float = 1.5
    """How heavy it is. More."""


@dataclasses.dataclass(frozen=True)
class Dummy:
    inner: Inner = Inner()
    """A record in it."""
    names: tuple[str, ...] = ("a", "b")
    """Which names; first
    sentence. Second sentence."""
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What is known."""
    often: int | None = None
    """How often."""
    bold: bool = False
    """Whether it is bold."""
    network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of free form."""
    stop: Callable[[], bool] | None = None
    """A function."""


def test_flags_of_a_record() -> None:
    got: list[Values] = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @with_flags(asked=flags_of(Dummy, without=("names",)))
    def run(*, asked: Values, out: Annotated[str, typer.Option()] = "here") -> None:
        got.append(asked | {"out": out})

    runner = CliRunner()
    words = ["--weight-kg", "2", "--known", "M=72,Tu=90", "--known", "kl=1.9", "--often", "3", "--bold"]
    assert runner.invoke(app, words).exit_code == 0
    assert runner.invoke(app, []).exit_code == 0
    known = {"M": 72.0, "Tu": 90.0, "kl": 1.9}
    assert got == [
        {"inner": {"weight_kg": 2.0}, "known": known, "often": 3, "bold": True, "out": "here"},
        {"out": "here"},  # what is not given leaves the file's value
    ]
    help_ = " ".join(runner.invoke(app, ["--help"]).output.split())
    assert "How heavy it is. [default: 1.5]" in help_
    assert "--network" not in help_
    assert "--stop" not in help_
    (names,) = flags_of(Dummy, only=("names",))
    assert (names.doc, names.flags) == ("Which names; first sentence.", ("--names",))
    for wrong in ("M", "M=x", "M=1:2"):
        assert isinstance(runner.invoke(app, ["--known", wrong]).exception, t1djax.config.ConfigError)


def test_a_missing_parameter_is_said_in_each_language(tmp_path: Path) -> None:
    patient = dataclasses.replace(t1djax.reference_cohort(interval_min=30, names=["Pat2"])["Pat2"], known={})
    with pytest.raises(ValueError, match="assume_population"):
        t1djax.fit([patient], model="ode")
    t1djax.write_cohort(t1djax.Cohort((patient,)), tmp_path / "c")
    said = call("train", "--model", "ode", "--data", tmp_path / "c", "--results", tmp_path / "r")
    assert said.code == 2
    assert "--assume-population" in said.err


# Windows


def test_windows_that_nobody_has() -> None:
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
    short = dataclasses.replace(cohort["Pat3"], time_min=cohort["Pat3"].time_min[:41],
                                glucose_mg_dL=cohort["Pat3"].glucose_mg_dL[:41])  # fmt: skip
    with pytest.raises(ValueError, match=r"Pat3.*20 h.*length_h=8"):
        t1djax.windows(short, length_h=24)
    assert t1djax.windows(short, length_h=8).names[0] == "Pat3@0012h"  # what it says works
    with pytest.raises(ValueError, match=r"Pat2.*48 h.*length_h=48"):
        t1djax.windows([cohort["Pat2"], short], length_h=60, burn_in_h=0)
    with pytest.raises(ValueError, match=r"20 h.*estimate_initial_state"):
        t1djax.windows(short, length_h=24, burn_in_h=20)
    thin = dataclasses.replace(short, glucose_mg_dL=np.where(short.time_min < 700, short.glucose_mg_dL, np.nan))
    with pytest.raises(ValueError, match=r"8 h.*70 %.*20 h"):
        t1djax.windows(thin, length_h=8)


def test_windows_on_the_command_line() -> None:
    said = call("identify", "reference", "--patients", "2", "--interval-min", "30", "--windows", "48")
    assert said.code == 2
    assert all(part in said.err for part in ("Pat2", "48 h", "--windows 36", "--estimate-initial-state"))


# Symbols


def test_every_symbol_has_a_meaning_and_a_unit() -> None:
    assert set(SYMBOLS) >= set(t1djax.PARAMETERS) | set(INITIAL_STATES)
    assert set(SYMBOLS) >= set(with_derived({"ksi": 1.0, "ku_Vi": 1.0, "kl": 1.0, "M": 1.0}))
    assert all(row.unit and len(row.meaning.split()) >= 2 for row in SYMBOLS.values())
    for symbol, row in t1djax.PARAMETERS.items():
        assert (SYMBOLS[symbol].unit, SYMBOLS[symbol].meaning) == (row.unit, row.meaning)
    assert legend(["q", "nobody", "q"]) == {"q": "rise of glucose that a gram of carbohydrate makes, in mg/dL/g"}


@pytest.fixture(scope="module")
def told() -> PatientIdentification:
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
    return t1djax.preflight(cohort, free=["ksi", "ku_Vi"], what_if=False)["Pat3"]


def test_identify_explains_what_it_shows() -> None:
    asked = (
        "identify",
        "reference",
        "--patients",
        "3",
        "--interval-min",
        "30",
        "--free",
        "ksi,ku_Vi",
        "--preflight",
        "--verbose",
    )
    said = call(*asked)
    assert said.code == 0
    below = said.out.split("\nwhere\n")[1].splitlines()
    assert [line.split()[0] for line in below] == ["ksi", "ku_Vi", "p1"]
    assert below[0].split(maxsplit=1)[1] == "insulin sensitivity, in mg/U/min"
    assert '"ksi": {\n      "unit": "mg/U/min",\n      "meaning": "insulin sensitivity"' in call(*asked, "--json").out


def test_the_page_explains_what_it_shows(told: PatientIdentification, tmp_path: Path) -> None:
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat3"])
    asked = {"figures_for": 0, "identification": [told]}
    page = t1djax.write_report(cohort, tmp_path / "r.html", **asked).read_text(encoding="utf-8")
    assert '<abbr title="insulin sensitivity, in mg/U/min">ksi</abbr>' in page
    assert "ksi: insulin sensitivity, in mg/U/min · ku_Vi: insulin clearance time over volume, in min/dL · p1: " in page
    assert "Tu:" not in page  # only what is shown


# Figures


def test_the_verdict_is_in_the_title(told: PatientIdentification) -> None:
    found = dataclasses.replace(told, misfit=Misfit(38.0, 10.0, 14.4, 2.0))
    assert found.misfit is not None
    assert found.misfit.found
    figure = plotting.plot_identification(found)
    title = figure.get_suptitle()
    assert title.startswith("Pat3: the model does not describe these readings; ksi ")
    assert "ku_Vi not determined" in title
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    assert box.x1 <= figure.bbox.x1, "the title is cut"
    assert "does not describe" not in plotting.plot_identification(told).get_suptitle()


def test_the_first_doubt_is_in_the_title_of_a_result(tmp_path: Path) -> None:
    rows = np.arange(4.0)
    masks = {f"mask_{part}": np.array([part == "fit"] * 4) for part in ("fit", "held_out", "forecast")}
    doubt = (
        "the fit misses its own readings by 61.2 mg/dL, where a constant would miss them by 42.7: the model does not "
        "describe them"
    )
    series = ("time_min", "glucose_mg_dL", "observed_mg_dL", "insulin_U_dL", "digestion_mg_dL_min")
    left = ("residual_G_mg_dL_min", "residual_I_U_dL_min", "residual_D_mg_dL_min2")
    told = {"patient": "Ada", "model": "ode", "mode": "forward", "seed": 0, "metrics": {"rmse_fit_mg_dL": 61.2}}
    predictions = dict.fromkeys((*series, *left), rows) | masks
    result = t1djax.records.Result(tmp_path, told | {"doubts": [doubt, "and more"]}, predictions, {})
    figure = plotting.plot_result(result)["glucose"]
    title = figure.axes[0].get_title(loc="left")
    assert " ".join(title.splitlines()[1:3]) == doubt
    figure.draw_without_rendering()
    assert figure.axes[0]._left_title.get_window_extent().x1 <= figure.bbox.x1, "the title is cut"  # type: ignore[attr-defined]


# Records and sweeps


def test_records_show_themselves_in_a_line() -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2", "Pat3"])
    doses = cohort["Pat2"].doses
    said = f"Doses(basal 1 U/h, 8 boluses of {doses.bolus_U.sum():g} U, 6 meals of {doses.carbs_g.sum():g} g)"
    assert repr(doses) == said
    assert "boluses of" not in repr(t1djax.Doses.of(boluses=[(0, 2.0)]))
    assert "ksi 197" in repr(cohort.truth["Pat2"])
    problem = t1djax.pose(cohort.patients, mode="inverse", free=["ksi"], key=jax.random.key(0))
    assert repr(problem) == "Problem(inverse: ksi free, 2 patients)"
    assert len(repr(cohort.truth["Pat2"])) < 200
    assert cohort._ipython_key_completions_() == ["Pat2", "Pat3"]  # cohort["<Tab>


def test_a_sweep_warns_once_of_each_patient(tmp_path: Path) -> None:
    cohort = t1djax.reference_cohort(interval_min=60, names=["Pat2", "Pat3"])
    reading = lambda p: np.where(np.arange(len(p.time_min)) == 5, 35.0, 120.0)
    low = [dataclasses.replace(p, glucose_mg_dL=reading(p)) for p in cohort]
    t1djax.write_cohort(t1djax.Cohort(tuple(low)), tmp_path / "c")
    common = {"data": str(tmp_path / "c"), "results": str(tmp_path / "r")}
    sets = (("ksi",), ("ksi", "kl"))
    config = t1djax.config.SweepConfig(
        models=("ode",), modes=("forward", "inverse"), inverse_params=sets, common=common
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plan = t1djax.experiment.plan_sweep(config)
    assert len(plan) == 3
    about = [str(w.message) for w in said if "below 40 mg/dL" in str(w.message)]
    assert len(about) == 2
    assert [name for name in ("Pat2", "Pat3") for text in about if name in text] == ["Pat2", "Pat3"]


# Completion


@pytest.mark.slow
def test_the_shell_completes_commands_and_flags() -> None:
    script = Path(sys.executable).with_name("t1djax")
    words = {"COMP_WORDS": "t1djax identify --estimate", "COMP_CWORD": "2", "_T1DJAX_COMPLETE": "complete_bash"}
    found = subprocess.run([script], env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **words}, capture_output=True,
                           text=True, check=False)  # fmt: skip
    assert found.stdout.split() == ["--estimate-initial-state"]


@pytest.mark.parametrize(
    ("flags", "near"),
    [
        (("--data", "reference", "--free", "ksy"), "did you mean ksi?"),
        (("--data", "reference", "--model", "pin"), "did you mean pinn?"),
        ((), "--data reference"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(flags: tuple[str, ...], near: str) -> None:
    assert near in refused(2, "train", *flags)

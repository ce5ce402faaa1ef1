"""The command line of the benchmarks: `python -m benchmarks --help` lists them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import accuracy as accuracy_
from . import bound as bound_
from . import checkpoints as checkpoints_
from . import closed_loop as closed_loop_
from . import cohorts as cohorts_
from . import coverage as coverage_
from . import devices as devices_
from . import forecasts as forecasts_
from . import identification as identification_
from . import longuse as longuse_
from . import matrix as matrix_
from . import misfit as misfit_
from . import optimisers as optimisers_
from . import options as options_
from . import parameters as parameters_
from . import reading as reading_
from . import scale as scale_
from . import simulation as simulation_
from . import startup as startup_
from . import suite as suite_
from .compare import FEWEST, told
from .compare import compare as compare_
from .figures import draw
from .options import PATIENTS
from .ours import CASES
from .report import Report
from .runners import NETWORKS, Scope

app = typer.Typer(
    help="What each model reaches and what it costs. Each command writes a Markdown table and the same as JSON, with "
    "machine, versions, seeds and date, row by row: a run that is stopped keeps what it had.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Quick = Annotated[bool, typer.Option("--quick", help="Two patients, one seed, small networks: only to see it run.")]
Out = Annotated[Path, typer.Option(help="Folder for the tables.")]
Seeds = Annotated[int, typer.Option(help="How many seeds; each sets noise, starts and weights.", min=1)]
Envs = Annotated[Path | None, typer.Option(help="Folder with one environment per peer; each row says how to make it.")]
_OUT = Path("results") / "benchmarks"


def _done(report: Report, *, whole: bool = True) -> None:
    """Tables and pictures; a table of some parts only is not called complete."""
    if whole:
        report.finish()
    draw(report)
    typer.echo(report.out / f"{report.name}.md")


def _known(asked: Sequence[str] | None, there: Sequence[str], option: str) -> tuple[str, ...]:
    """What was asked for, or all there is; refused where it is unknown."""
    strange = sorted(set(asked or ()) - set(there))
    if strange:
        raise typer.BadParameter(f"unknown: {', '.join(strange)}; there are {', '.join(there)}", param_hint=option)
    return tuple(asked or there)


def _numbers(text: str, option: str) -> list[int]:
    """Whole numbers above zero, separated by commas."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    bad = [word for word in words if not (word.isdecimal() and int(word) > 0)]
    if bad:
        raise typer.BadParameter(f"no number of patients: {', '.join(bad)}", param_hint=option)
    return [int(word) for word in words]


@app.callback()
def all_parts(
    context: typer.Context,
    suite: Annotated[suite_.Suite | None, typer.Option(help="Run every part in turn, shrunk or whole.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    envs: Envs = None,
    out: Out = _OUT,
) -> None:
    """Run a suite: each part in a process of its own; a part whose report is complete is left out."""
    if only and suite is None:
        raise typer.BadParameter("it chooses parts of a suite: say --suite quick or --suite full", param_hint="--only")
    if context.invoked_subcommand is not None:
        return
    if suite is None:
        typer.echo(context.get_help())
        return
    try:
        failed = suite_.run(suite, out, envs=envs, only=tuple(only or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    if failed:
        typer.echo(f"failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="A report's JSON.", exists=True, dir_okay=False)],
    new: Annotated[Path, typer.Argument(help="The same benchmark's, later.", exists=True, dir_okay=False)],
) -> None:
    """What got slower by more than the noise of the repetitions, worse, or lost; exits with 1 if anything did."""
    try:
        found = compare_(old, new)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for line in told(found):
        typer.echo(line)
    if not found.checked:
        raise typer.BadParameter(
            f"nothing could be judged: no row of both {old} and {new} has {FEWEST} repetitions or a verdict"
        )
    if found.bad:
        raise typer.Exit(1)


@app.command()
def accuracy(
    virtual: Annotated[int, typer.Option(help="Also this many unseen virtual patients.", min=0)] = 0,
    seeds: Seeds = 3,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Errors of ksi and glucose: guess, least squares and networks; noise-free, white, and autocorrelated noise."""
    _done(accuracy_.run(Scope.of(quick, seeds), out, virtual=virtual))


@app.command()
def parameters(
    draws: Annotated[int, typer.Option(help="Noisy draws of all patients together.", min=1)] = 200,
    seeds: Seeds = 3,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Five parameters and G0 at once, noise-free; and least squares at 10 mg/dL against its Cramer-Rao bound."""
    _done(parameters_.run(Scope.of(quick, seeds), out, draws=4 if quick else draws))


@app.command()
def matrix(quick: Quick = False, out: Out = _OUT) -> None:
    """Three architectures by ten patients, noise-free: seconds to compile and to run, and the worst error."""
    _done(matrix_.run(Scope.of(quick, 1), out))


@app.command()
def optimisers(
    budget: Annotated[float, typer.Option(help="Seconds of running per row, compilation left out.", min=0.1)] = 30.0,
    model: Annotated[list[str] | None, typer.Option(help="Only this architecture; may be repeated.")] = None,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Adam, Adam then L-BFGS, and Gauss-Newton, for every architecture, at equal seconds."""
    models = _known(model, NETWORKS, "--model")
    report = optimisers_.run(Scope.of(quick, 1), out, budget_s=budget, models=models)
    _done(report, whole=set(models) >= set(NETWORKS))


@app.command()
def options(
    only: Annotated[str, typer.Option(help="Only rows whose option has this in its name.")] = "",
    seeds: Annotated[int, typer.Option(help="How many seeds.", min=1)] = 2,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Options of the Modified MLP, one at a time, on and off."""
    try:
        _done(options_.run(Scope.of(quick, seeds, PATIENTS), out, only=only), whole=not only)
    except options_.UnknownOption as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None


@app.command()
def coverage(
    patients: Annotated[int, typer.Option(help="Virtual patients for the mechanistic rows.", min=2)] = 1000,
    network_patients: Annotated[int, typer.Option(help="Virtual patients for the networks.", min=2)] = 100,
    members: Annotated[int, typer.Option(help="Seeds of an ensemble.", min=2)] = 5,
    part: Annotated[list[str] | None, typer.Option(help="Only mechanistic, networks or pool; may be repeated.")] = None,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """How often 90 % intervals hold the truth: Fisher, posterior, networks, ensembles, and pooled short records."""
    n = 12 if quick else patients
    parts = _known(part, coverage_.PARTS, "--part")
    sizes = {"patients": n, "network_patients": network_patients, "members": members}
    _done(coverage_.run(Scope.of(quick, 1), out, **sizes, parts=parts), whole=set(parts) >= set(coverage_.PARTS))


@app.command()
def misfit(
    patients: Annotated[int, typer.Option(help="Simulated people per row.", min=2)] = 100,
    simglucose: Annotated[
        Path | None, typer.Option(help="Folder of simglucose traces; left out, those rows are.", exists=True)
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Only noise, loop, hovorka, hovorka_loop or simglucose; may be repeated.")
    ] = None,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Fits where the model is wrong: another model's data, doses that answer to glucose, noise that remembers."""
    n, only = 4 if quick else patients, _known(group, misfit_.GROUPS, "--group") if group else ()
    report = misfit_.run(Scope.of(quick, 1), out, patients=n, simglucose=simglucose, only=only)
    _done(report, whole=not only or set(only) >= set(misfit_.GROUPS))


@app.command()
def scale(
    sizes: Annotated[str, typer.Option(help="How many patients, separated by commas.")] = "100,1000,10000",
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Least squares of ksi and G0 for many virtual patients in one call: seconds, memory, and the error reached."""
    asked = _numbers(sizes, "--sizes")
    if not asked:
        raise typer.BadParameter("no sizes", param_hint="--sizes")
    _done(scale_.run([20] if quick else asked, out))


@app.command()
def checkpoints(
    sizes: Annotated[str, typer.Option(help="Patients whose states are saved, separated by commas.")] = "10,1000",
    memory: Annotated[str, typer.Option(help="Patients that are trained to see the memory.")] = "10,100,500",
    pairs: Annotated[int, typer.Option(help="Runs with and without.", min=1)] = 9,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Checkpoints and tracking: milliseconds and bytes of a save, share of wall time; memory and its estimate."""
    saved, trained = _numbers(sizes, "--sizes"), _numbers(memory, "--memory")
    saved, trained = ([2], [2]) if quick else (saved, trained)
    _done(checkpoints_.run(saved, trained, 1 if quick else pairs, out, quick=quick))


@app.command()
def closed_loop(
    draws: Annotated[int, typer.Option(help="People per row.", min=2)] = 50, quick: Quick = False, out: Out = _OUT
) -> None:
    """Insulin that answers glucose under disturbances: bias of ksi, and how often the report warns."""
    _done(closed_loop_.run(2 if quick else draws, out))


@app.command()
def peers(
    envs: Envs = None,
    steps: Annotated[int, typer.Option(help="Adam steps of the networks that are compared.", min=50)] = 1500,
    repeat: Annotated[int, typer.Option(help="Repetitions of our fits, and pairs of the step's cost.", min=1)] = 3,
    budget: Annotated[float, typer.Option(help="Seconds that a peer gets for all patients.", min=1.0)] = 180.0,
    only: Annotated[list[str] | None, typer.Option(help="Only this peer, t1djax, or step; may be repeated.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only this case of the table; may be repeated.")] = None,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """ksi by us and by SciPy, DeepXDE, jinns, numpyro: seconds to 5, 1 and 0.1 %, cost of a step, errors, memory."""
    sizes = {"steps": 100 if quick else steps, "repeat": repeat, "budget_s": budget}
    systems = _known(only, identification_.SYSTEMS, "--only")
    cases = _known(case, tuple(CASES), "--case")
    report = identification_.run(Scope.of(quick, 1), out, envs=envs, only=systems, cases=cases, **sizes)
    _done(report, whole=set(systems) >= set(identification_.SYSTEMS) and set(cases) == set(CASES))


@app.command()
def simulation(
    envs: Envs = None,
    full: Annotated[bool, typer.Option("--full", help="Also 100,000 patients.")] = False,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Patient-days per second and errors: the exact path and diffrax, SciPy's LSODA and DOP853, an Euler loop."""
    _done(simulation_.run(out, envs=envs, full=full, quick=quick))


@app.command()
def startup(
    repeat: Annotated[int, typer.Option(help="Fresh processes per number.", min=1)] = 3,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Import, and seconds to the first training step with no, a cold and a warm compilation cache."""
    _done(startup_.run(Scope.of(quick, 1), out, repeat=repeat))


@app.command()
def reading(
    repeat: Annotated[int, typer.Option(help="Fresh processes per number.", min=1)] = 3,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Seconds and peak memory of a year of Nightscout's JSON."""
    _done(reading_.run(Scope.of(quick, 1), out, repeat=repeat))


@app.command()
def longuse(quick: Quick = False, out: Out = _OUT) -> None:
    """Many fits in one process, a year's record, short beside long, 100,000 people, 3,000,000 rows in a file."""
    _done(longuse_.run(out, quick=quick))


@app.command()
def bound(
    draws: Annotated[int, typer.Option(help="Noisy draws of all patients together.", min=1)] = 200,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Error of ksi at 10 mg/dL over its Cramer-Rao bound: least squares and the networks."""
    _done(bound_.run(Scope.of(quick, 1), out, draws=draws))


@app.command()
def cohorts(
    envs: Envs = None,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Only one of {', '.join(cohorts_.PARTS)}; may be repeated.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also 10,000 patients, by least squares and by networks.")
    ] = False,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Ten patients against one, growth with the cohort, a loop over patients, SciPy's least squares, and memory."""
    parts = _known(part, cohorts_.PARTS, "--part")
    report = cohorts_.run(out, envs=envs, full=full, quick=quick, parts=parts)
    _done(report, whole=set(parts) >= set(cohorts_.PARTS))


@app.command()
def forecasts(
    azt1d: Annotated[Path, typer.Option(help="Folder of the twelve files of AZT1D.")],
    hupa: Annotated[Path, typer.Option(help="Folder of the HUPA-UCM files of 0002, 0004 and 0022.")],
    boosting: Annotated[bool, typer.Option(help="Also scikit-learn's boosting, as a reference.")] = False,
    quick: Quick = False,
    out: Out = _OUT,
) -> None:
    """Forecasts of real people by every method, by others who never saw the person; writes the shipped weights."""
    _done(forecasts_.run(Scope.of(quick, 1), out, azt1d=azt1d, hupa=hupa, boosting=boosting))


@app.command()
def devices(quick: Quick = False, out: Out = _OUT) -> None:
    """Sharding over devices, several processes, and the share of the arithmetic's ceiling that a step reaches."""
    _done(devices_.run(out, quick=quick))


if __name__ == "__main__":
    app()

"""Published patients and the protocols of the reference cohort, from a data file of the package."""

import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping

import yaml

from ._inputs import Doses
from ._magdelaine import Magdelaine
from ._magdelaine_facts import KB_BODY_MASS


@dataclasses.dataclass(frozen=True)
class Preset:
    """A patient of the reference cohort.

    Example:
        >>> import t1djax
        >>> t1djax.presets()["Pat2"].source
        'published (IF2)'
    """

    name: str
    """`Pat2` to `Pat11`."""
    parameters: Mapping[str, float]
    """All of `PARAMETERS` by symbol, in their units."""
    doses: Doses
    """Insulin and meals of the protocol."""
    start_min: float
    """Start of the protocol's window, min."""
    end_min: float
    """End of the protocol's window, min."""
    source: str
    """Whether it is published or a perturbation, and of whom."""
    same_physiology_as: str | None = None
    """The patient whose parameters it repeats."""

    def model(self) -> Magdelaine:
        """The patient's `Magdelaine` parameters."""
        return Magdelaine(**{f.name: self.parameters[f.name] for f in dataclasses.fields(Magdelaine)})


@functools.cache
def presets() -> Mapping[str, Preset]:
    """The ten patients of the reference cohort by name.

    Pat2 and Pat3 are published; the others perturb them within about 3.5 %, and Pat10 and Pat11 repeat the
    parameters of Pat4 and Pat5 under other protocols.

    Source: Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, doi 10.1109/TBME.2015.2393105.
    """
    text = importlib.resources.files("t1djax.physics").joinpath("reference_cohort.yaml").read_text(encoding="utf-8")
    file = yaml.safe_load(text)
    start, end = file["window_min"]
    cohort = {}
    for name, entry in file["patients"].items():
        parameters = {k: float(v) for k, v in entry["parameters"].items()}
        parameters |= {"kb": KB_BODY_MASS / parameters["M"], "G0": float(entry["G0"])}
        basal = [(start, entry["basal"])]
        for since, until, rate in entry["basal_changes"]:
            # Back to the usual rate at the end of a change, unless the next change begins there.
            basal = [b for b in basal if b[0] != since] + [(since, rate), (until, entry["basal"])]
        cohort[name] = Preset(
            name=name,
            parameters=parameters,
            doses=Doses.of(basal=basal, boluses=map(tuple, entry["boluses"]), meals=map(tuple, entry["meals"])),
            start_min=float(start),
            end_min=float(end),
            source=entry["source"],
            same_physiology_as=entry.get("same_physiology_as"),
        )
    return cohort

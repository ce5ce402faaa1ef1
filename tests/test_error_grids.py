"""Error grids: zones against polygons of the published corners, hand-picked points, and what must hold everywhere."""

import numpy as np
import pytest
from matplotlib.path import Path

import t1djax
from t1djax.records import PARKES_LOWER, PARKES_UPPER

# The corners as the papers list them, x/y in mg/dL, written down apart from those of the package.
PARKES = {
    1: {
        "upper": {
            "B": "0/50 30/50 140/170 280/380 430/550",
            "C": "0/60 30/60 50/80 70/110 260/550",
            "D": "0/100 25/100 50/125 80/215 125/550",
            "E": "0/150 35/155 50/550",
        },
        "lower": {
            "B": "50/0 50/30 170/145 385/300 550/450",
            "C": "120/0 120/30 260/130 550/250",
            "D": "250/0 250/40 550/150",
        },
    },
    2: {
        "upper": {
            "B": "0/50 30/50 230/330 440/550",
            "C": "0/60 30/60 280/550",
            "D": "0/80 25/80 35/90 125/550",
            "E": "0/200 35/200 50/550",
        },
        "lower": {
            "B": "50/0 50/30 90/80 330/230 550/450",
            "C": "90/0 260/130 550/250",
            "D": "250/0 250/40 410/110 550/160",
        },
    },
}
CLARKE = {
    "A": ["0/0 70/0 70/56 400/320 400/400 333.3333333333/400 58.3333333333/70 0/70"],
    "C": ["70/180 290/400 70/400", "130/0 180/0 180/70"],
    "D": ["0/70 58.3333333333/70 70/84 70/180 0/180", "240/70 400/70 400/180 240/180"],
    "E": ["0/180 70/180 70/400 0/400", "180/0 400/0 400/70 180/70"],
}


def corners(text: str) -> np.ndarray:
    return np.array([[float(n) for n in corner.split("/")] for corner in text.split()])


def points(most: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.uniform(0, most, n), rng.uniform(0, most, n)


@pytest.mark.parametrize("kind", [1, 2])
def test_parkes_zones_are_those_of_the_published_polygons(kind):
    x, y = points(550)
    wanted = np.full(len(x), "A")
    # Zones lie inside one another: a graver one is written over a lighter one.
    for zone in "BCDE":
        for side, close in (("upper", [[0, 550]]), ("lower", [[550, 0]])):
            if zone in PARKES[kind][side]:
                shape = np.vstack([corners(PARKES[kind][side][zone]), close])
                wanted[Path(shape).contains_points(np.column_stack([x, y]))] = zone
    assert {*wanted} == set("ABCDE")
    np.testing.assert_array_equal(t1djax.evaluation.parkes_zones(x, y, diabetes_type=kind), wanted)


def test_the_grids_differ_where_the_types_do():
    x, y = points(550)
    assert np.mean(t1djax.evaluation.parkes_zones(x, y) != t1djax.evaluation.parkes_zones(x, y, diabetes_type=2)) > 0.02


@pytest.mark.parametrize("kind", [1, 2])
def test_corners_lie_on_the_side_of_less_harm(kind):
    less = {"B": "A", "C": "B", "D": "C", "E": "D"}
    for upper, lines in ((True, PARKES_UPPER[kind]), (False, PARKES_LOWER[kind])):
        for zone, line in lines.items():
            x, y = np.array(line, dtype=float)[1:].T
            np.testing.assert_array_equal(t1djax.evaluation.parkes_zones(x, y, diabetes_type=kind), less[zone])
            beyond = (x, y + 1e-6) if upper else (x + 1e-6, y)
            np.testing.assert_array_equal(t1djax.evaluation.parkes_zones(*beyond, diabetes_type=kind), zone)


@pytest.mark.parametrize("kind", [1, 2])
def test_further_from_the_reference_is_never_better(kind):
    rank = lambda x, y: np.searchsorted(list("ABCDE"), t1djax.evaluation.parkes_zones(x, y, diabetes_type=kind))
    predicted = np.linspace(0, 800, 1601)
    for reference in (10.0, 45.0, 70.0, 100.0, 180.0, 251.0, 400.0, 600.0):
        zone = rank(np.full(predicted.shape, reference), predicted)
        at = int(np.argmin(np.abs(predicted - reference)))
        assert zone[at] == 0
        assert np.all(np.diff(zone[at:]) >= 0)
        assert np.all(np.diff(zone[: at + 1]) <= 0)


def test_parkes_goes_on_beyond_the_grid():
    # On the last piece of each line, twice as far out: 280/380 to 430/550 goes on to 580/720.
    x = np.array([580.0, 580.0, 700.0, 700.0])
    y = np.array([719.9, 720.1, 205.1, 204.9])  # and 250/40 to 550/150 to 700/205
    assert t1djax.evaluation.parkes_zones(x, y).tolist() == ["A", "B", "C", "D"]


def test_clarke_zones_are_those_of_the_published_polygons():
    x, y = points(400)
    wanted = np.full(len(x), "B")
    for zone, shapes in CLARKE.items():
        for shape in shapes:
            wanted[Path(corners(shape)).contains_points(np.column_stack([x, y]))] = zone
    np.testing.assert_array_equal(t1djax.evaluation.clarke_zones(x, y), wanted)
    assert {*wanted} == set("ABCDE")


@pytest.mark.parametrize(
    ("reference", "predicted", "zone"),
    [
        (100, 120, "A"), (100, 80, "A"), (100, 121, "B"), (100, 79, "B"),  # 20 % on the dot, and beyond
        (69, 10, "A"), (69.9, 69.9, "A"), (60, 72, "A"), (60, 73, "D"), (58, 70, "D"),
        (70, 180, "E"), (70, 179.9, "B"), (180, 70, "E"), (180, 70.1, "B"), (71, 181.1, "C"), (71, 181, "B"),
        (290, 400.1, "C"), (290, 400, "B"), (150, 27.9, "C"), (150, 28, "B"), (130, 0, "B"),
        (240, 100, "B"), (240.1, 100, "D"), (300, 180, "B"), (300, 70, "E"), (0, 0, "A"),
    ],
)  # fmt: skip
def test_clarke_at_its_edges(reference, predicted, zone):
    assert t1djax.evaluation.clarke_zones(np.array([float(reference)]), np.array([float(predicted)])).tolist() == [zone]


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_whole_numbers_within_twenty_percent_are_in_zone_a(factor):
    """No rounding of 0.2 pushes a point off the edge."""
    reference = np.arange(75.0, 400.0, 5.0)
    assert set(t1djax.evaluation.clarke_zones(reference, np.rint(factor * reference))) == {"A"}


def test_what_is_missing_has_no_zone_and_a_negative_reference_is_refused():
    nan, one = np.array([np.nan, 100.0, 100.0]), np.array([100.0, np.nan, -20.0])
    assert t1djax.evaluation.clarke_zones(nan, one).tolist() == ["", "", "B"]
    assert t1djax.evaluation.parkes_zones(nan, one).tolist() == ["", "", "B"]
    with pytest.raises(ValueError):
        t1djax.evaluation.clarke_zones(one, one)


# Corners of the lines of the DTS grid as the paper's appendix lists them, apart from its function; to 1.2 mg/dL.
DTS = {
    "upper": {"B": "0/60 50/60 500/600", "C": "0/86.5 50/86.5 347/600", "D": "0/124 50/124 241/600",
              "E": "0/179 50/179 167/600"},
    "lower": {"B": "62.5/0 62.5/50 600/480", "C": "97.5/0 97.5/50 600/307", "D": "153/0 153/50 600/197",
              "E": "238/0 238/50 600/126"},
}  # fmt: skip


def test_dts_zones_are_those_within_the_published_lines():
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0.5, 600, 3), np.arange(0.5, 600, 3)))
    found = t1djax.evaluation.dts_zones(x, y)
    wanted, near = np.full(len(x), 0), np.full(len(x), False)
    for side, ends in (("upper", "0/600"), ("lower", "600/0")):
        for rank, name in enumerate("BCDE", start=1):
            line = [tuple(map(float, corner.split("/"))) for corner in f"{DTS[side][name]} {ends}".split()]
            area, moves = Path([*line, line[0]]), [(a, b) for a in (-2, 0, 2) for b in (-2, 0, 2)]
            beyond = [area.contains_points(np.stack([x + a, y + b], 1)) for a, b in moves]
            wanted[beyond[4]] = rank
            near |= np.any(beyond, axis=0) != np.all(beyond, axis=0)
    np.testing.assert_array_equal(found[~near], np.array([*"ABCDE"])[wanted][~near])
    assert near.mean() < 0.1
    # A reading that is 20 % too high or too low lies at the edge of A; below 50 all is alike.
    edge = t1djax.evaluation.dts_zones(np.full(4, 200.0), np.array([239.0, 241.0, 161.0, 159.0]))
    assert edge.tolist() == ["A", "B", "A", "B"]
    assert t1djax.evaluation.dts_zones(np.array([10.0, 200.0]), np.array([45.0, 10.0])).tolist() == ["A", "D"]


def test_a_grid_counts_its_pairs():
    pairs = t1djax.error_grid(np.array([100.0, 100.0, 60.0, np.nan]), np.array([100.0, 130.0, 100.0, 90.0]))
    assert pairs.zone.tolist() == ["A", "B", "C"]  # 60/100 lies above 60/94.4, on the way from 50/80 to 70/110
    assert pairs.percent == pytest.approx({"A": 100 / 3, "B": 100 / 3, "C": 100 / 3, "D": 0, "E": 0})
    empty = t1djax.error_grid(np.array([np.nan]), np.array([1.0]), grid="clarke")
    assert np.isnan(empty.percent["A"])


def test_an_infinite_prediction_is_in_the_worst_zone():
    pairs = np.array([100.0, 100.0, np.nan]), np.array([np.inf, 100.0, 100.0])
    for grid in ("clarke", "parkes1", "parkes2", "dts"):
        assert t1djax.error_grid(*pairs, grid=grid).percent["E"] == 50.0


def test_surveillance_levels_come_from_the_callers_table():
    made_up = np.zeros((601, 601))
    made_up[100, :8] = [0.0, 0.5, 0.51, 1.0, 1.2, 3.4, 3.6, 4.0]
    found = t1djax.evaluation.surveillance_levels(np.full(8, 100.0), np.arange(8.0), risk=made_up)
    assert found.tolist() == ["none", "none", "slight, lower", "slight, lower", "slight, higher", "severe, higher",
                              "extreme", "extreme"]  # fmt: skip
    from_one = t1djax.evaluation.surveillance_levels(np.full(7, 100.2), np.arange(1.0, 8.0), risk=made_up[1:, 1:])
    np.testing.assert_array_equal(from_one, found[1:])
    assert t1djax.evaluation.surveillance_levels(np.array([np.nan, 900.0]), np.zeros(2), risk=made_up).tolist() == [
        "",
        "none",
    ]
    with pytest.raises(ValueError):
        t1djax.evaluation.surveillance_levels(np.zeros(1), np.zeros(1), risk=np.zeros((10, 10)))
    with pytest.raises(ValueError):
        t1djax.evaluation.surveillance_levels(np.zeros(1), np.zeros(1), risk=made_up - 1)

"""Random workspaces: the bytes of everybody else stay, and a removal is complete only where an own search agrees."""

import contextlib
import json
import os
import random
import re
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import t1djax

from .persons import killed_after

NAMES = (
    "Ada", "Ada Byron", "Ada-Marie", "Ben Ada", "ADA", "Ada2", "Adam", "predictions", "glucose", "states",
    "metadata", "model", "summary", "forgotten", "results", "José", "Jose", "Jose\N{COMBINING ACUTE ACCENT}s",
    "Zoë 王", "王小明", "O'Brien", "559", "55", "ode", "checkpoints", "@Eve", "Ada.csv",
)  # fmt: skip
FIELDS = {"model": "ode", "mode": "inverse", "seed": 0, "ok": True, "estimates": {}, "derived": {}, "metrics": {}}


def words(text: str) -> list[str]:
    return [w for w in re.split(r"[\W_]+", unicodedata.normalize("NFC", text)) if w]


def mentions(text: str, name: str) -> bool:
    """By words rather than by a pattern."""
    mine, all_ = words(name), words(text)
    return any(all_[i : i + len(mine)] == mine for i in range(len(all_)))


class World:
    """A workspace, and for each file whose it is, what of whom it carries, and its content without somebody."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.r = root, random.Random(seed)
        self.own: dict[Path, str] = {}
        self.shared: dict[Path, Callable[[str], bytes | None]] = {}
        self.foreign: dict[Path, tuple[str, frozenset[str]]] = {}
        self.people = {name: self.series() for name in self.r.sample(NAMES, self.r.randint(2, 5))}
        if self.r.random() < 0.7:
            self.people.setdefault("Ada", self.series())
        self.named = [root / "data", root / "results"] + [root / "exports"] * self.r.randint(0, 1)
        self.known: set[str] = set()
        self.empties: list[Path] = []
        for folder in {*self.named, root / "outside"}:
            folder.mkdir()
        for _ in range(self.r.randint(1, 2)):
            self.cohort(self.r.choice([self.named[0], root / "outside", *self.named]))
        for _ in range(self.r.randint(0, 4)):
            self.result(self.r.choice([self.named[1], *self.own_folders(), root / "outside"]))
        for _ in range(self.r.randint(0, 3) if self.known else 0):
            self.r.choice([self.forecaster, self.fitted, self.unfinished])(self.somewhere())
        for _ in range(self.r.randint(0, 6)):
            self.r.choice([self.export, self.notes, self.numbers, self.copy, self.link, self.hostile, self.empty])()

    def series(self) -> np.ndarray:
        return np.asarray([self.r.randint(60, 300) for _ in range(30)], float)

    def own_folders(self) -> list[Path]:
        return sorted({path.parent for path in self.own if path.parent.is_dir()})

    def somewhere(self) -> Path:
        folder = self.r.choice([*self.named, *self.own_folders(), self.root / "outside"])
        return folder / f"n{self.r.randint(0, 9)}" if self.r.random() < 0.3 else folder

    def inside(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.named)

    def cohort(self, folder: Path) -> None:
        folder = folder / f"cohort{len(self.own)}" if any(folder.iterdir()) else folder
        chosen = self.r.sample(sorted(self.people), self.r.randint(1, len(self.people)))
        chosen = [n for i, n in enumerate(chosen) if n.casefold() not in [m.casefold() for m in chosen[:i]]]
        times = np.arange(30) * 5.0
        make = lambda n: t1djax.Patient(n, times, self.people[n], t1djax.Doses.of(basal=0.9), {"M": 62.0})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            t1djax.write_cohort(t1djax.Cohort(tuple(map(make, chosen))), folder)
        self.own |= {folder / f"{name}.csv": name for name in chosen}
        lines = (folder / "patients.csv").read_text("utf-8").splitlines(keepends=True)

        def without(name: str) -> bytes | None:
            left = [raw for raw, whose in zip(lines[1:], chosen, strict=True) if whose != name]
            return "".join([lines[0], *left]).encode() if left else None

        self.shared[folder / "patients.csv"] = without
        self.known |= set(chosen) if self.inside(folder) else set()

    def result(self, parent: Path) -> None:
        name = self.r.choice(sorted(self.people))
        folder = parent / f"ode_inverse_{name}_ksi_{len(self.own)}"
        listed = self.r.sample(sorted(self.people), self.r.randint(1, len(self.people)))
        config = {"model": "ode", "patients": ",".join(listed)}
        folder.mkdir(parents=True)
        head = {"format": "t1djax.result", "format_version": 1, "patient": name, **FIELDS}
        files: dict[str, Callable[[dict[str, str]], bytes]] = {
            "metadata.json": lambda c: (json.dumps({**head, "config": c}, indent=2) + "\n").encode(),
            "config.yaml": lambda c: yaml.safe_dump(c, sort_keys=False, allow_unicode=True).encode(),
        }
        np.savez_compressed(folder / "predictions.npz", observed_mg_dL=self.people[name], id=len(self.own))
        (folder / "glucose.png").write_bytes(f"picture {len(self.own)}".encode())
        self.own |= dict.fromkeys([folder / "predictions.npz", folder / "glucose.png"], name)
        for file, render in files.items():
            (folder / file).write_bytes(render(config))
            self.own[folder / file] = name
            left = lambda gone: {**config, "patients": ",".join(n for n in listed if n != gone)}
            self.shared[folder / file] = lambda gone, render=render, left=left: render(left(gone))
        self.known |= {name} if self.inside(folder) else set()

    def forecaster(self, folder: Path) -> None:
        """Or its training, which has arrays behind a line."""
        names = self.r.sample(sorted(self.known), self.r.randint(1, len(self.known)))
        done, path = self.r.random() < 0.5, folder / f"own{len(self.shared)}.json"
        head = {"format": "t1djax.population" if done else "t1djax.population.training", "people": names}
        data = json.dumps(head, indent=2 if done else None).encode() + (b"\n" if done else bytes([10, *range(256)]))
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.shared[path] = lambda gone: None if gone in names else data

    def fitted(self, folder: Path) -> None:
        name, path = self.r.choice(sorted(self.known)), folder / "model.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"format": "t1djax.fitted_patient", "name": name, "id": len(self.own)}))
            self.own[path] = name

    def unfinished(self, folder: Path) -> None:
        name = self.r.choice(sorted(self.known))
        folder = folder / f"ode_inverse_{name}_{len(self.own)}.partial"
        folder.mkdir(parents=True)
        (folder / ".run").write_text(f"ode\n{name}", encoding="utf-8")
        np.savez(folder / "predictions.npz", observed_mg_dL=self.people[name], id=len(self.own))
        self.own |= dict.fromkeys([folder / ".run", folder / "predictions.npz"], name)

    def put(self, path: Path, data: bytes, text: str, of: set[str]) -> None:
        if not path.exists() and not path.is_symlink() and path not in self.own:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.foreign[path] = (text, frozenset(of))

    def export(self) -> None:
        name = self.r.choice([*self.people, *NAMES])
        self.put(self.somewhere() / f"{name}{self.r.choice(['', '_1', ' old'])}.csv", b"Timestamp;Value\n", "", set())

    def notes(self) -> None:
        name, other = self.r.choice(sorted(self.people)), self.r.choice(NAMES)
        text = self.r.choice(
            [f"{name} came late", f"x{name.lstrip('@')}", f'["{name}"]', json.dumps({"a": name, "b": other}), "-"]
        )
        self.put(self.somewhere() / f"notes{self.r.randint(0, 99)}.txt", text.encode(), json_read(text), set())

    def numbers(self) -> None:
        name, start = self.r.choice(sorted(self.people)), self.r.randint(0, 18)
        part, path = self.people[name][start : start + self.r.choice([8, 12])], self.somewhere() / "r"
        of = {name} if len(part) >= 12 else set()
        as_text = {
            "list": ", ".join(f"{x:.0f}" for x in part),
            "column": "".join(f"2026-01-01T00:{i:02},{x:.1f},x\n" for i, x in enumerate(part)),
            "mmol": "".join(f"{i};{x / 18.016:.1f}\n".replace(".", ",") for i, x in enumerate(part)),
            "json": json.dumps([{"sgv": x, "i": 17} for x in part]),
        }
        kind = self.r.choice([*as_text, "npy"])
        if kind == "npy":
            path = path.with_name("r.npy")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, part)
                self.foreign[path] = ("", frozenset(of))
            return
        self.put(path.with_name(f"{kind}.dat"), as_text[kind].encode(), as_text[kind], of)

    def copy(self) -> None:
        path = self.r.choice(sorted(p for p in self.own if p.name not in ("metadata.json", "config.yaml", ".run")))
        data = path.read_bytes()
        seen = path.suffix != ".png" or self.inside(path)  # of a picture elsewhere nobody knows
        name = f"copy{self.r.randint(0, 9)}.bin"
        self.put(self.somewhere() / name, data, data.decode("utf-8", "replace"), {self.own[path]} if seen else set())

    def link(self) -> None:
        path = self.somewhere() / f"link{self.r.randint(0, 99)}"
        target = self.r.choice([*sorted(self.own), self.root / "outside", self.root / "nowhere", path])
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.symlink_to(target)

    def empty(self) -> None:
        """A folder in which nothing is, of somebody or of a result whose removal was interrupted."""
        name = self.r.choice(NAMES)
        path = self.r.choice(self.named) / self.r.choice([name, f"ode_inverse_{name}_ksi"])
        if not path.exists():
            path.mkdir()
            self.empties.append(path)

    def hostile(self) -> None:
        victim = self.root / "victim.txt"
        self.put(victim, b"mine", "mine", set())
        claims = {"sweep": "s", "results": [{"patient": n} for n in self.people], "folders": ["..", "../outside"],
                  "figures": ["../victim.txt", str(victim)]}  # fmt: skip
        text = json.dumps(claims)
        self.put(self.somewhere() / "summary.json", text.encode(), json_read(text), set())

    def expected(self, name: str) -> set[Path]:
        """What is there for a person to decide."""
        found = {path for path, (text, of) in self.foreign.items() if self.inside(path)
                 and (name in of or self.has(path.name, name, file=True) or self.has(text, name))}  # fmt: skip
        links: set[Path] = set()
        for folder in self.named:
            for base, folders, files in os.walk(folder):
                for each in (Path(base) / x for x in (*folders, *files)):
                    if each.is_symlink():
                        real = Path(os.path.realpath(each))
                        out = real.exists() and not self.inside(real)
                        found |= {each} if out or self.has(each.name, name, file=True) else set()
                        links.add(each)
        kept = {p for p in (*self.foreign, *links) if self.inside(p)}
        folders = {up for path in kept for up in path.parents if any(f in up.parents for f in self.named)}
        of_others = {p.parent for p, whose in self.own.items() if whose != name and p.name in ("metadata.json", ".run")}
        theirs = [p for p, whose in self.own.items() if whose != name] + [p for p in self.shared if self.shared[p](name)
                  and self.own.get(p) != name]  # fmt: skip
        folders |= {up for p in theirs for up in p.parents if any(f in up.parents for f in self.named)}
        folders -= of_others
        folders |= {path for path in self.empties if f"_{name}_" not in path.name}
        return found | {folder for folder in folders if self.has(folder.name, name, file=True)}

    @staticmethod
    def has(text: str, name: str, *, file: bool = False) -> bool:
        if not file and not any(c.isalpha() for c in name):
            return text.strip() == name or f'"{name}"' in text
        return mentions(text, name)


def json_read(text: str) -> str:
    return text.encode().decode("unicode_escape") if "\\u" in text else text


def removed(world: World, name: str) -> t1djax.privacy.Forgotten:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return t1djax.forget(name, data=world.named[:1], results=world.named[1:2], also=world.named[2:])


def check(root: Path, seed: int) -> tuple[bool, bool]:
    """One workspace: what is there afterwards is what the maker of the workspace says."""
    world = World(root, seed)
    name = world.r.choice(sorted(world.people))
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}
    if name not in world.known:
        with pytest.raises(t1djax.config.MissingPathError):
            removed(world, name)
        assert {p: p.read_bytes() for p in before} == before
        return False, False
    expected = world.expected(name)
    done, steps = None, world.r.randint(0, 5)
    with killed_after(steps) if world.r.random() < 0.3 else contextlib.nullcontext():
        done = removed(world, name)
    done = done or removed(world, name)
    after = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}
    found = {Path(trace.where) for trace in done.remains}
    assert found == expected, (name, found - expected, expected - found)
    assert done.complete is (not expected)
    for path in world.empties:
        assert path.is_dir() is (bool(expected) or f"_{name}_" not in path.name), path
    for path, data in before.items():
        if world.inside(path) and world.own.get(path) == name:
            assert (path in after) is bool(expected), path
        elif world.inside(path) and path in world.shared and not (path.name == "patients.csv" and expected):
            assert after.get(path) == world.shared[path](name), path
        else:
            assert after.get(path) == data, path
    return True, done.complete


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 525), marks=pytest.mark.slow)], ids=len)
def test_everybody_else_keeps_every_byte(tmp_path: Path, seeds: range) -> None:
    outcomes = []
    for seed in seeds:
        (tmp_path / str(seed)).mkdir()
        try:
            outcomes.append(check(tmp_path / str(seed), seed))
        except Exception as e:
            raise AssertionError(f"workspace {seed}") from e
    # Both ends are met with, and names that nobody knows.
    assert {(True, True), (True, False)} <= set(outcomes)

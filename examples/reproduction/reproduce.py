"""Run the stages of `dvc.yaml` in a new folder, without DVC: cohort, sweep, evaluation, figures, tables of the study.

The commands are those of `dvc.yaml` with the numbers of `params.yaml` put in, and nothing else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
FILES = ("dvc.yaml", "metrics.py", "study.py", "earlier.yaml")


def command(template: str, params: dict) -> str:
    """A stage's command with its `${section.name}` filled in, as DVC does."""

    def value(match: re.Match) -> str:
        section, name = match[1].split(".")
        return str(params[section][name])

    return re.sub(r"\$\{([\w.]+)\}", value, template)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/reproduction"), help="a new folder for everything")
    parser.add_argument("--params", type=Path, default=HERE / "params.yaml", help="another file like params.yaml")
    parser.add_argument("--quick", action="store_true", help="params-quick.yaml: two patients, one network, a minute")
    flags = parser.parse_args()
    if flags.out.exists() and any(flags.out.iterdir()):
        parser.error(f"{flags.out} is not empty; name a new folder")
    flags.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, flags.out)
    shutil.copy(HERE / "params-quick.yaml" if flags.quick else flags.params, flags.out / "params.yaml")

    # `t1djax` and `python` in the commands are those of the interpreter that runs this.
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    params = yaml.safe_load((flags.out / "params.yaml").read_text())
    began = time.perf_counter()
    for name, stage in yaml.safe_load((flags.out / "dvc.yaml").read_text())["stages"].items():
        line, since = command(stage["cmd"], params), time.perf_counter()
        print(f"\n== {name}\n$ {line}", flush=True)
        subprocess.run(line, shell=True, check=True, cwd=flags.out, env=env)
        print(f"== {name}: {time.perf_counter() - since:.0f} s", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s in all; tables in {flags.out / 'study' / 'tables.md'}")


if __name__ == "__main__":
    main()

"""Whether a tag is the version of pyproject.toml, and the changelog has it: `python .ci/check_version.py v0.1.0`."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> str | None:
    """What is wrong, or nothing."""
    tag = sys.argv[1]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if tag != f"v{version}":
        return f"the tag is {tag} and the version {version}"
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        return f"CHANGELOG.md has no section [{version}]"
    return None


if __name__ == "__main__":
    sys.exit(main())

"""Which version of the code ran."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class GitState(NamedTuple):
    """The commit a folder stands at."""

    commit: str | None
    """Its hash; None outside a repository or without git."""
    dirty: bool | None
    """Whether tracked files differ from it; None where that is not known."""


def git_state(folder: str | Path) -> GitState:
    """The commit of the repository that holds `folder`, and whether tracked files were changed since.

    Args:
        folder: any folder, in a repository or not.

    Returns:
        Commit, and whether files were changed; None for both outside of a repository or without git.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from t1djax import git_state
        >>> git_state(Path(tempfile.gettempdir()))
        GitState(commit=None, dirty=None)
    """
    folder = Path(folder)
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return GitState(None, None)
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit, None if changed is None else bool(changed))


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()

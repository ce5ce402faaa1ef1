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
        >>> from t1djax.tracking import git_state
        >>> git_state(Path(tempfile.gettempdir()))
        GitState(commit=None, dirty=None)
    """
    git = lambda *args: subprocess.run(
        ["git", "-C", folder, *args], capture_output=True, timeout=10, check=True, encoding="utf-8"
    ).stdout.strip()
    try:
        return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return GitState(None, None)

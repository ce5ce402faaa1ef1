"""Who was removed is in no log: a pseudonym stands there, and the key that made it is erased."""

import datetime as dt
import getpass
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "forgotten.jsonl"
"""The log of removals, in the folder that was worked on."""
_KEY = ".forgotten.key"


def user() -> str:
    """Who works here, by the system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid-{os.getuid()}"


def under_way(path: Path, name: str) -> set[str]:
    """The events of a person's removal that is not complete; none where none is under way."""
    key = path.with_name(_KEY)
    if not (key.exists() and key.stat().st_size and path.exists()):
        return set()
    person = _pseudonym(key, name)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
    return {line["event"] for line in lines if line.get("person") == person}


def _pseudonym(key: Path, name: str) -> str:
    return f"person-{hmac.new(key.read_bytes(), name.encode(), hashlib.sha256).hexdigest()[:16]}"


class Log:
    """Appends what happens to a file, under a pseudonym: HMAC-SHA256 of the name.

    The key lies beside the log until the removal is complete, so that one that was interrupted goes on under the same
    pseudonym; then it is overwritten and removed, and nobody can tell whose pseudonym it was, or try names on it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self._key = path, path.with_name(_KEY)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (self._key.exists() and self._key.stat().st_size):
            file = os.open(self._key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(file, secrets.token_hex(32).encode())
            os.fsync(file)
            os.close(file)
        self.pseudonym = _pseudonym(self._key, name)

    def write(self, event: str, **facts: Any) -> None:
        """One line, on the disk when this returns."""
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        line: Mapping[str, Any] = {"time": when, "person": self.pseudonym, "event": event, "by": user(), **facts}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def erase_key(self) -> None:
        """Nobody can tell any more whose pseudonym this is."""
        size = self._key.stat().st_size
        with self._key.open("r+b") as file:
            file.write(secrets.token_bytes(size))
            file.flush()
            os.fsync(file.fileno())
        self._key.unlink()

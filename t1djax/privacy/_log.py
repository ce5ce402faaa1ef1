"""Who was removed is in no log: a pseudonym stands there, and the key that made it is erased."""

import datetime as dt
import getpass
import hashlib
import hmac
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._places import SCRATCH

LOG = "forgotten.jsonl"
"""The log of removals, in the folder that was worked on."""
DONE = "nothing is left"
"""The last event of a removal."""
_KEY = re.compile(r"\.forgotten-(person-[0-9a-f]{16})\.key")


def is_log(name: str) -> bool:
    """Whether a file of this name is a log, or the key of a pseudonym."""
    return name == LOG or _KEY.fullmatch(name) is not None


def under_way(path: Path, name: str) -> set[str]:
    """The events of a person's removal that is not complete; none where none is under way."""
    key = _find(path, name)
    return set() if key is None else {x["event"] for x in _lines(path) if x.get("person") == _pseudonym(key, name)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:  # torn by a kill
            continue


def _pseudonym(key: Path, name: str) -> str:
    spelt = unicodedata.normalize("NFC", name)  # the same person, however the accents are written
    return f"person-{hmac.new(key.read_bytes(), spelt.encode(), hashlib.sha256).hexdigest()[:16]}"


def _find(path: Path, name: str) -> Path | None:
    """The key of a person's removal that is not complete."""
    files = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    keys = ((key, match[1]) for key in files if (match := _KEY.fullmatch(key.name)))
    return next((key for key, whose in keys if _pseudonym(key, name) == whose), None)


class Log:
    """Appends what happens to a file, under a pseudonym: HMAC-SHA256 of the name.

    Each removal has a key of its own, which lies beside the log until the removal is complete. A file of a key is named
    after the pseudonym, so that trying the name on the keys finds the right one: a removal that was interrupted goes on
    under the same pseudonym, whoever was removed in between. When it is complete the key is overwritten and removed:
    nobody can tell whose pseudonym it was, or try names on it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._key = _find(path, name) or self._new(name)
        self.pseudonym = _pseudonym(self._key, name)

    def _new(self, name: str) -> Path:
        partial = self.path.with_name(f"{SCRATCH}{secrets.token_hex(6)}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        return partial.rename(self.path.with_name(f".forgotten-{_pseudonym(partial, name)}.key"))

    def write(self, event: str, **facts: Any) -> None:
        """One line, on the disk when this returns."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user need not have a name
            user = f"uid-{os.getuid()}"
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": when, "person": self.pseudonym, "event": event, "by": user, **facts}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def erase_key(self) -> None:
        """Nobody can tell any more whose pseudonym this is."""
        with self._key.open("r+b") as file:
            file.write(secrets.token_bytes(64))
            file.flush()
            os.fsync(file.fileno())
        self._key.unlink()

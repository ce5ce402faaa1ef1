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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "forgotten.jsonl"
"""The log of removals, in the folder that was worked on."""
DONE = "nothing is left"
"""The last event of a removal."""
_KEY = re.compile(r"\.forgotten-(person-[0-9a-f]{16})\.key")
_SHARED = ".forgotten.key"  # older versions had one for all removals that were not complete


def is_key(name: str) -> bool:
    """Whether a file of this name is the key of a pseudonym."""
    return name == _SHARED or _KEY.fullmatch(name) is not None


def user() -> str:
    """Who works here, by the system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid-{os.getuid()}"


def under_way(path: Path, name: str) -> set[str]:
    """The events of a person's removal that is not complete; none where none is under way."""
    found = _find(path, name)
    return set() if found is None else {line["event"] for line in _lines(path) if line.get("person") == found[1]}


def completed(path: Path) -> set[str]:
    """The pseudonyms in a log under which nothing is under way: their keys are gone."""
    keys = {match[1] for key in path.parent.iterdir() if (match := _KEY.fullmatch(key.name))}
    return {line["person"] for line in _lines(path) if "person" in line} - keys - _sharing(path)


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:  # torn by a kill
            continue
    return found


def _pseudonym(secret: bytes, name: str) -> str:
    return f"person-{hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:16]}"


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # the same person, however the accents are written


def _find(path: Path, name: str) -> tuple[Path, str] | None:
    """The key of a person's removal that is not complete, and the pseudonym that it makes."""
    if not path.parent.is_dir():
        return None
    for key in sorted(path.parent.iterdir()):
        match = _KEY.fullmatch(key.name)
        if match and _pseudonym(key.read_bytes(), _spelt(name)) == match[1]:
            return key, match[1]
    shared = path.with_name(_SHARED)
    if shared.exists() and shared.stat().st_size:
        events: dict[str, set[str]] = {}
        for line in _lines(path):
            events.setdefault(line.get("person", ""), set()).add(line["event"])
        for spelling in (name, _spelt(name), unicodedata.normalize("NFD", name)):
            person = _pseudonym(shared.read_bytes(), spelling)
            if person in events and not (DONE in events[person] and _sharing(path)):
                return shared, person
    return None


def _sharing(path: Path) -> set[str]:
    """Who is not complete under a key that several share: who began since it was made and has none of their own."""
    shared = path.with_name(_SHARED)
    if not shared.exists():
        return set()
    made = dt.datetime.fromtimestamp(int(shared.stat().st_mtime), dt.UTC)
    lines = _lines(path)
    began = {line["person"] for line in lines if dt.datetime.fromisoformat(line["time"]) >= made}
    own = {match[1] for key in path.parent.iterdir() if (match := _KEY.fullmatch(key.name))}
    return began - {line["person"] for line in lines if line["event"] == DONE} - own


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
        self._key, self.pseudonym = _find(path, name) or self._new(name)

    def _new(self, name: str) -> tuple[Path, str]:
        secret = secrets.token_hex(32).encode()
        pseudonym = _pseudonym(secret, _spelt(name))
        path = self.path.with_name(f".forgotten-{pseudonym}.key")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, secret)
            os.fsync(file)
        finally:
            os.close(file)
        return path, pseudonym

    def write(self, event: str, **facts: Any) -> None:
        """One line, on the disk when this returns."""
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        line: Mapping[str, Any] = {"time": when, "person": self.pseudonym, "event": event, "by": user(), **facts}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def give_up(self) -> None:
        """Erase a key under which nothing was written: nothing was begun."""
        if not any(line.get("person") == self.pseudonym for line in _lines(self.path)):
            self.erase_key()

    def erase_key(self) -> None:
        """Nobody can tell any more whose pseudonym this is. A key that others still need goes with the last of them."""
        if self._key.name == _SHARED and _sharing(self.path):
            return
        size = self._key.stat().st_size
        with self._key.open("r+b") as file:
            file.write(secrets.token_bytes(size))
            file.flush()
            os.fsync(file.fileno())
        self._key.unlink()

"""Who was removed is in no log: a pseudonym stands there, and the key that made it is erased."""

import contextlib
import datetime as dt
import getpass
import hashlib
import hmac
import json
import os
import re
import secrets
import unicodedata
from pathlib import Path
from typing import Any, TextIO

from ._places import SCRATCH

LOG = "forgotten.jsonl"
"""The log of removals, in the folder that was worked on."""
DONE = "nothing is left"
"""The last event of a removal."""
_KEY = re.compile(r"\.forgotten-(person-[0-9a-f]{16})\.key")


def is_log(name: str) -> bool:
    """Whether a file of this name is a log, or the key of a pseudonym."""
    return name == LOG or _KEY.fullmatch(name) is not None


class Log:
    """A person's removal in a file of removals, under a pseudonym: HMAC-SHA256 of the name.

    Each removal has a key of its own, which lies beside the log until the removal is complete. A file of a key is named
    after the pseudonym, so that trying the name on the keys finds the right one: a removal that was interrupted goes on
    under the same pseudonym, whoever was removed in between. When it is complete the key is overwritten and removed:
    nobody can tell whose pseudonym it was, or try names on it.

    Args:
        path: the file.
        name: the person's.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = unicodedata.normalize("NFC", name).encode()  # the same person, however the accents are written
        self.pseudonym = ""
        """What the person is called; empty where no removal is under way."""
        for key in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
            if (match := _KEY.fullmatch(key.name)) and self._pseudonym(key) == match[1]:
                self.pseudonym = match[1]

    def _pseudonym(self, key: Path) -> str:
        return f"person-{hmac.new(key.read_bytes(), self._name, hashlib.sha256).hexdigest()[:16]}"

    @property
    def _key(self) -> Path:
        return self.path.with_name(f".forgotten-{self.pseudonym}.key")

    def events(self) -> set[str]:
        """What happened in a removal that is under way."""
        found = set[str]()
        for line in self.path.read_text("utf-8").splitlines() if self.pseudonym and self.path.exists() else ():
            with contextlib.suppress(ValueError):  # torn by a kill
                entry = json.loads(line)
                found |= {entry["event"]} if entry.get("person") == self.pseudonym else set()
        return found

    def begin(self) -> None:
        """A removal is under way from now on; one that was interrupted goes on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.pseudonym:
            partial = self.path.with_name(f"{SCRATCH}{secrets.token_hex(6)}")
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                _to_disk(file, secrets.token_hex(32))
            self.pseudonym = self._pseudonym(partial)
            partial.rename(self._key)

    def write(self, event: str, **facts: Any) -> None:
        """One line, on the disk when this returns."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user need not have a name
            user = f"uid-{os.getuid()}"
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        line = {"time": when, "person": self.pseudonym, "event": event, "by": user, **facts}
        with self.path.open("a", encoding="utf-8") as file:
            _to_disk(file, json.dumps(line) + "\n")

    def erase_key(self) -> None:
        """Nobody can tell any more whose pseudonym this is."""
        with self._key.open("r+", encoding="ascii") as file:
            _to_disk(file, secrets.token_hex(32))
        self._key.unlink()


def _to_disk(file: TextIO, text: str) -> None:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())

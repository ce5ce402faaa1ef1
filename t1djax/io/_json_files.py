"""JSON files that state their format and its version."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class ResultError(ValueError):
    """A results folder cannot be read; the message names the file and the remedy."""


class NewerFormatError(ResultError):
    """What is read was written by a newer version of this package."""


class JsonFormat(NamedTuple):
    """A kind of file."""

    name: str
    """What stands as its `format`."""
    version: int
    """That is written; older ones from `oldest` on are read."""
    what: str
    """What such a file describes, in words."""
    remedy: str
    """Where one is damaged."""
    absent: str = ""
    """Where there is none; else the remedy."""
    needed: Sequence[str] = ()
    """Keys that each has."""
    oldest: int | None = None
    error: type[ValueError] = ResultError

    @property
    def head(self) -> dict[str, Any]:
        """What a file begins with."""
        return {"format": self.name, "format_version": self.version}

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a file.

        Raises:
            ValueError: of the format's class, naming the file that is missing, damaged, or of another version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as e:
            raise self.error(f"{path}: not there; {self.absent or self.remedy}") from e
        except (ValueError, RecursionError) as e:
            raise self.error(f"{path}: is not valid JSON ({e}); {self.remedy}") from e
        return self.checked(content, path)

    def checked(self, content: Any, path: object) -> dict[str, Any]:
        """The content, if it is of this format; `path` is what errors name."""
        if not isinstance(content, dict) or content.get("format") != self.name:
            raise self.error(f"{path}: does not describe {self.what} (format is not {self.name!r}); {self.remedy}")
        found = content.get("format_version")
        if found not in range(self.oldest or self.version, self.version + 1):
            kind = NewerFormatError if self.error is ResultError else self.error
            raise kind(f"{path}: has format version {found}, this t1djax reads {self.version}; update t1djax")
        if absent := [key for key in self.needed if key not in content]:
            raise self.error(f"{path}: lacks {', '.join(absent)}; {self.remedy}")
        return content

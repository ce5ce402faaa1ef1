"""A person's name: equal to another, in a list, or as a word of a text."""

import re
import unicodedata
from typing import Any, TypeGuard


class NamedPerson:
    """Who is removed. Accents may be part of their letters or signs of their own (Unicode's NFC and NFD)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nfc = _nfc(name)
        # A letter or a digit beside it makes the name part of another word; an underscore does not: it joins the parts
        # of folders' names.
        self._word = re.compile(rf"(?<![^\W_]){re.escape(self._nfc)}(?![^\W_])")
        self._number = not any(c.isalpha() for c in name)

    def same(self, other: object) -> TypeGuard[str]:
        """Whether this is the person's name."""
        return isinstance(other, str) and _nfc(other) == self._nfc

    def in_text(self, text: str) -> bool:
        """Whether a text has the name as a word; a name without a letter, as the whole text or between quotes."""
        text = _nfc(text)
        if self._number:
            return text.strip() == self._nfc or any(f"{q}{self._nfc}{q}" in text for q in "\"'")
        return self._word.search(text) is not None

    def in_file_name(self, text: str) -> bool:
        """Whether a file's or folder's name has the name as a word."""
        return self._word.search(_nfc(text)) is not None

    def in_result_name(self, text: str) -> bool:
        """Whether a folder is called as a result of the person is."""
        return f"_{self._nfc}_" in _nfc(text)

    def masked(self, text: str, by: str) -> str:
        """The text with something else in the name's place."""
        return self._word.sub(lambda _: by, _nfc(text))

    def without(self, content: Any) -> Any:
        """A configuration without the person in its list `patients`."""
        if isinstance(content, dict):
            return {k: self._left(v) if k == "patients" and isinstance(v, str) else self.without(v)
                    for k, v in content.items()}  # fmt: skip
        return [self.without(v) for v in content] if isinstance(content, list) else content

    def _left(self, names: str) -> str:
        parts = names.split(",")
        left = [part for part in parts if not self.same(part.strip())]
        return names if len(left) == len(parts) else ",".join(left).strip()


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)

"""Containers with one record per patient, found by the patient's name."""

import functools
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class ByName(Generic[T]):
    """Base of records that hold one record per patient in `patients`: in order, and by name."""

    patients: tuple[T, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patients, in order."""
        return tuple(patient.name for patient in self.patients)

    def __iter__(self) -> Iterator[T]:
        return iter(self.patients)

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, name: str) -> T:
        if name not in self._by_name:
            raise KeyError(f"no patient {name!r} in this {type(self).__name__}; there are {', '.join(self.names)}")
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, T]:
        return {patient.name: patient for patient in self.patients}

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.names)

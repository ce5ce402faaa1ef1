"""Containers with one record per patient, found by the patient's name."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload, runtime_checkable


@runtime_checkable
class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class ByName(Generic[T]):
    """Base of records that hold one record per patient in `patients`: by name, by position, and slices of them."""

    patients: tuple[T, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patients, in order."""
        return tuple(patient.name for patient in self.patients)

    def __iter__(self) -> Iterator[T]:
        return iter(self.patients)

    def __len__(self) -> int:
        return len(self.patients)

    def __contains__(self, patient: object) -> bool:
        return patient in self._by_name if isinstance(patient, str) else any(patient is one for one in self.patients)

    @overload
    def __getitem__(self, name: str | int) -> T: ...
    @overload
    def __getitem__(self, name: slice) -> Any: ...
    def __getitem__(self, name: str | int | slice) -> Any:
        if isinstance(name, slice):
            return self.take(range(len(self))[name])
        if isinstance(name, int):
            return self.patients[name]
        if name not in self._by_name:
            raise KeyError(f"no patient {name!r} in this {type(self).__name__}; there are {', '.join(self.names)}")
        return self._by_name[name]

    def take(self, which: Sequence[int]) -> Any:
        """Some of the patients, by position.

        Args:
            which: positions of the patients, from 0.

        Returns:
            The same kind of record of these alone, in that order, where it has one; else their records.
        """
        return tuple(self.patients[i] for i in which)

    @functools.cached_property
    def _by_name(self) -> dict[str, T]:
        return {patient.name: patient for patient in self.patients}

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.names)

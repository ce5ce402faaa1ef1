"""People to learn from, and people to judge by."""

from collections.abc import Sequence
from typing import NamedTuple


class PeopleFold(NamedTuple):
    """People to learn from, and people to judge by.

    Example:
        >>> from t1djax.population import PeopleFold
        >>> PeopleFold(("Ada", "Ben"), ("Cy",)).unseen
        ('Cy',)
    """

    train: tuple[str, ...]
    """Names of those to learn from."""
    unseen: tuple[str, ...]
    """Names of those that are kept out of everything that is learnt."""


def people_split(names: Sequence[str], folds: int | None = None) -> tuple[PeopleFold, ...]:
    """Split people, never their readings: each person is unseen in one fold.

    Args:
        names: the people.
        folds: how many folds; one per person if not given.

    Returns:
        The folds: with `n` of them, fold `k` leaves every n-th name from the k-th on unseen.

    Raises:
        ValueError: where there are fewer than two people or folds, more folds than people, or a name twice.

    Example:
        >>> import t1djax
        >>> [fold.unseen for fold in t1djax.population.people_split(["Ada", "Ben", "Cy"])]
        [('Ada',), ('Ben',), ('Cy',)]
    """
    count = len(names) if folds is None else folds
    if len(set(names)) < len(names):
        raise ValueError("people_split: a name is there twice")
    if not 2 <= count <= len(names):
        raise ValueError(f"people_split: {count} folds of {len(names)} people; give two people and two folds or more")
    unseen = (tuple(names[k::count]) for k in range(count))
    return tuple(PeopleFold(tuple(n for n in names if n not in some), some) for some in unseen)

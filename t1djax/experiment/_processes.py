"""Several processes of one `jax.distributed` run: each fits its own patients, and they meet at the end."""

import jax
import numpy as np

from ..io import goes_on


class PeerGone(OSError):
    """Another process of the same run ended before its time."""


def everybody(value: int) -> int:
    """The first process's value, in all of them."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils  # noqa: PLC0415 - only where there are several

    # Two halves: integers have 32 bits unless told otherwise.
    halves = np.asarray(divmod(value, 2**16), np.int32)
    high, low = (int(x) for x in np.asarray(multihost_utils.broadcast_one_to_all(halves)))
    return high * 2**16 + low


def barrier(name: str) -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils  # noqa: PLC0415 - only where there are several

        try:
            multihost_utils.sync_global_devices(name)
        except jax.errors.JaxRuntimeError as e:
            raise PeerGone(
                f"another process of this sweep is gone ({str(e).splitlines()[0][:200]}); {goes_on()}, with "
                "all processes"
            ) from e

"""The port to an online store: what the predictor needs of it, whichever reader is behind."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract import Key, RawFeatures


class OnlineFeatures(Protocol):
    """What the predictor needs of an online store."""

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """Read the contract's features of n entities, one row each, in the order asked.

        Args:
            keys: n ≥ 1; texts are not empty.
            as_of_unix_us: the request's time, for request-time inputs; int64 (n,) where rows of several requests
                are read together.
            given: request input → n values that the requests gave; None if the contract asks for none.

        Raises:
            OnlineStoreUnavailableError: the store could not be read.
        """
        ...

    async def close(self) -> None:
        """Close all connections. Nothing may be read afterwards."""
        ...


def rows_asked(keys: Sequence[Key], given: Mapping[str, Sequence[Any]] | None) -> Sequence[Hashable]:
    """What tells n rows apart: the key, and the request's values, which on-demand features are made of."""
    return list(zip(keys, *given.values(), strict=True)) if given else keys

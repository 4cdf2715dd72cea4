"""The mel filter bank without BLAS.

faster-whisper's feature extractor multiplies with the dense filter bank. NumPy gives that product to a BLAS whose
threads go on spinning for tens of milliseconds after it, on cores that the LLM and the voice want. The filters are
triangles over a few bins each, so summing those bins costs less anyway.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class BandMatrix:
    """A matrix whose rows are zero outside one band each. `band_matrix @ dense` works as with the dense form.

    :param dense: float32, shape (rows, columns).
    """

    def __init__(self, dense: NDArray[np.float32]) -> None:
        self.shape = dense.shape
        self._bands: list[tuple[int, NDArray[np.float32]]] = []
        for row in dense:
            used = np.flatnonzero(row)
            first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
            self._bands.append((first, np.ascontiguousarray(row[first:last])))

    def __matmul__(self, other: NDArray[np.float32]) -> NDArray[np.float32]:
        """:param other: float32, shape (columns, n). Returns shape (rows, n)."""
        out = np.empty((self.shape[0], other.shape[1]), dtype=np.float32)
        for index, (first, weights) in enumerate(self._bands):
            np.einsum("b,bt->t", weights, other[first : first + len(weights)], out=out[index])
        return out

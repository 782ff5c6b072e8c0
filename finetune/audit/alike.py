"""Which images look the same, among many: candidates by hash, confirmed by the correlation of small grey images.

It works on arrays alone and knows nothing of files, labels and splits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BITS = 16  # of 64 that may differ between candidates
SIMILAR = 0.5  # plain correlation that candidates have at least
SAME = 0.75  # correlation of details, aligned, from which on two images are nearly the same
NEIGHBOURS = 32  # candidates kept of each image, the nearest first
MOST = 40_000  # pairs aligned in all, the nearest first

_BLOCK = 1024
_BATCH = 256
_SIDE = 32
_CROPS = tuple((a / 80, 1 - b / 80) for a in range(5) for b in range(5) if a + b in (0, 2, 4))  # 0, 2.5 or 5 % off


@dataclass(frozen=True)
class Near:
    """Two images that are nearly the same, by their places, and how well their details agree (up to 1)."""

    first: int
    second: int
    correlation: float


def near(hashes: Sequence[int], greys: np.ndarray) -> tuple[list[Near], int]:
    """Pairs that link all images that are nearly the same, and how many candidates were left untried.

    hashes: n of 64 bits; greys: uint8 (n, 32, 32). Images that are linked already, by others, are not compared again:
    a chain, and not every pair of it, is returned. Candidates differ in at most 16 bits and correlate by 0.5 as they
    are; of an image the nearest 32 are tried, of all at most 40,000, the nearest first.
    """
    if len(greys) < 2:
        return [], 0
    distances, firsts, seconds = candidates(hashes)
    flat = _unit(greys.reshape(len(greys), -1).astype(np.float32) - greys.mean(axis=(1, 2), dtype=np.float32)[:, None])
    similar = np.concatenate(
        [np.zeros(0, bool), *(_rows(flat, firsts[at], seconds[at]) >= SIMILAR for at in _batches(len(firsts), 8192))]
    )
    order = np.lexsort((seconds[similar], firsts[similar], distances[similar]))
    firsts, seconds = firsts[similar][order], seconds[similar][order]
    details = _details(greys)
    links = Links(len(greys))
    found: list[Near] = []
    tried = 0
    for at in _batches(len(firsts), _BATCH):
        pairs = [
            (a, b) for a, b in zip(firsts[at].tolist(), seconds[at].tolist(), strict=True) if not links.linked(a, b)
        ]
        if tried >= MOST:
            return found, len(firsts) - at.start
        tried += len(pairs)
        left, right = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
        for (a, b), value in zip(pairs, _aligned(details[left], details[right]).tolist(), strict=True):
            if value >= SAME and not links.linked(a, b):
                links.link(a, b)
                found.append(Near(a, b, min(1.0, value)))
    return found, 0


def candidates(hashes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose hashes differ in at most 16 bits, of an image the nearest 32 behind it: distances, firsts, seconds.

    int64 arrays of one length, first < second. All pairs are compared, a block of them as one product of matrices:
    with bits as 1 and -1 two hashes at distance d have the product 64 - 2 d.
    """
    words = np.array(hashes, dtype=np.uint64)
    signs = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, np.int64),) * 3]
    for start in range(0, len(words), _BLOCK):
        product = signs[start : start + _BLOCK] @ signs[start:].T
        rows, columns = np.nonzero(product >= 64 - 2 * BITS)
        behind = columns > rows
        rows, columns = rows[behind], columns[behind]
        distances = ((64 - product[rows, columns]) / 2).astype(np.int64)
        order = np.lexsort((columns, distances, rows))
        rows, columns, distances = rows[order], columns[order], distances[order]
        nearest = np.arange(len(rows)) - np.searchsorted(rows, rows) < NEIGHBOURS
        found.append((distances[nearest], rows[nearest] + start, columns[nearest] + start))
    distances, firsts, seconds = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return distances, firsts, seconds


def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The plain correlation of grey images, pair by pair: float32 (n,) of two uint8 (n, 32, 32); 0 for flat ones."""
    units = [_unit(a.reshape(len(a), -1) - a.mean(axis=(1, 2), dtype=np.float32)[:, None]) for a in (one, other)]
    return _rows_of(units[0], units[1])


class Links:
    """Places 0..n-1 in groups that grow as places are linked."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def root(self, place: int) -> int:
        """The place that stands for the group of this one."""
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place

    def linked(self, one: int, other: int) -> bool:
        """Whether two places are in one group."""
        return self.root(one) == self.root(other)

    def link(self, one: int, other: int) -> None:
        """Puts two groups together."""
        first, second = sorted((self.root(one), self.root(other)))
        self._above[second] = first

    def groups(self) -> list[list[int]]:
        """The groups of two places and more, each sorted, in the order of their first places."""
        inside: dict[int, list[int]] = {}
        for place in range(len(self._above)):
            inside.setdefault(self.root(place), []).append(place)
        return [group for group in inside.values() if len(group) > 1]


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those without anything in them stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: np.ndarray = (rows / np.maximum(norms, 1e-6)).astype(np.float32)
    return units


def _rows(units: np.ndarray, firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return _rows_of(units[firsts], units[seconds])


def _rows_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product: np.ndarray = np.einsum("ij,ij->i", one, other)
    return product


def _details(greys: np.ndarray) -> np.ndarray:
    """What is left of each image when the mean of 5 x 5 places around is taken off: float32 (n, 32, 32).

    Plain grey would call two flowers on a dark ground the same; their edges are not.
    """
    place = np.arange(_SIDE)
    mean = np.zeros((_SIDE, _SIDE), np.float32)
    for shift in range(-2, 3):
        mean[place, np.clip(place + shift, 0, _SIDE - 1)] += 0.2
    values = greys.astype(np.float32)
    return values - mean @ values @ mean.T


def _resampling(low: float, high: float) -> np.ndarray:
    """A matrix (32, 32) that stretches the part of a side from `low` to `high` (0..1) over the whole, linearly."""
    at = np.clip((low + (high - low) * (np.arange(_SIDE) + 0.5) / _SIDE) * _SIDE - 0.5, 0, _SIDE - 1)
    below = np.floor(at).astype(np.int64)
    matrix = np.zeros((_SIDE, _SIDE), np.float32)
    matrix[np.arange(_SIDE), below] += (1 - (at - below)).astype(np.float32)
    matrix[np.arange(_SIDE), np.minimum(below + 1, _SIDE - 1)] += (at - below).astype(np.float32)
    return matrix


_STRETCHED = np.concatenate([_resampling(low, high) for low, high in _CROPS])  # (9 * 32, 32)


def _aligned(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The best correlation of details (n, 32, 32) when up to 5 % are cropped off one of the two, in steps of 2.5 %."""
    if not len(one):
        return np.zeros(0, np.float32)
    best: np.ndarray = np.maximum(_cropped(one, other), _cropped(other, one))
    return best


def _cropped(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    wide = one @ _STRETCHED.T  # (n, 32, 9 * 32)
    best = np.full(len(one), -1.0, np.float32)
    other = other / np.maximum(np.linalg.norm(other, axis=(1, 2), keepdims=True), 1e-6)
    for place in range(len(_CROPS)):
        rows = _STRETCHED[_SIDE * place : _SIDE * (place + 1)]
        all_of = (rows @ wide).reshape(len(one), _SIDE, len(_CROPS), _SIDE)
        products = np.einsum("nikj,nij->nk", all_of, other)
        norms = np.sqrt(np.einsum("nikj,nikj->nk", all_of, all_of))
        best = np.maximum(best, (products / np.maximum(norms, 1e-6)).max(axis=1))
    return best

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
FEWEST = 20  # different images without which it is not known how alike different ones are
BY_CHANCE = 0.5  # pairs of different images that may be expected to agree as well as is asked

_BLOCK = 1024
_AT_ONCE = 2**24  # pairs of hashes in one product of matrices
_BATCH = 256
_SIDE = 32
_DRAWN = 2000  # pairs that say how alike different images are
_TURNS = 4
_CHAINS, _OF_A_CHAIN = 100, 20
_CROPS = tuple((a / 80, 1 - b / 80) for a in range(5) for b in range(5) if a + b in (0, 2, 4))  # 0, 2.5 or 5 % off


@dataclass(frozen=True)
class Near:
    """Two images that are nearly the same, by their places, and how well their details agree (up to 1)."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class Found:
    """Pairs that link all images that are nearly the same: a chain, and not every pair of it. `untried`: how many
    candidates were not compared closely. `same`: the correlation of details that was asked for.
    """

    pairs: tuple[Near, ...]
    untried: int
    same: float


def near(hashes: Sequence[int], greys: np.ndarray) -> Found:
    """Which images are nearly the same, as pairs that link them.

    hashes: n of 64 bits; greys: uint8 (n, 32, 32). Images that are linked already, by others, are not compared again.
    Candidates differ in at most 16 bits and correlate by 0.5 as they are; of an image the nearest 32 are tried, of all
    at most 40,000, the nearest first. Their details have to correlate by 0.75, or by more where different images are
    very alike, as digits on one ground are: by as much as `by_chance` says of images that are not linked.
    """
    if len(greys) < 2:
        return Found((), 0, SAME)
    distances, firsts, seconds = candidates(hashes)
    similar = np.zeros(len(firsts), bool)
    for at in _batches(len(firsts), _BLOCK):
        similar[at] = likeness(greys[firsts[at]], greys[seconds[at]]) >= SIMILAR
    order = np.lexsort((seconds[similar], firsts[similar], distances[similar]))
    firsts, seconds = firsts[similar][order], seconds[similar][order]
    tried = np.full(len(firsts), np.nan, np.float32)
    same = SAME
    for _ in range(_TURNS):
        links = Links(len(greys))
        pairs, untried = _linked(greys, firsts, seconds, tried, same=same, links=links)
        asked = by_chance(greys, np.array(_different(greys, links, same=same)))
        if asked <= same:
            break
        same = asked
    return Found(tuple(pairs), untried, same)


def by_chance(greys: np.ndarray, different: np.ndarray) -> float:
    """The correlation, aligned, that half a pair of all pairs of different images is expected to reach.

    greys: uint8 (n, 32, 32); different: the places of different ones among them. Of 2,000 pairs drawn at random, always
    the same, correlations of details are made normal (Fisher 1915: artanh) and their tail from the highest
    twentieth on is taken for exponential, as steep as it falls between the highest fifth and the highest twentieth;
    that of a normal distribution is steeper, so that too much rather than too little is asked. 0 below 20 images.
    """
    count = len(different)
    if count < FEWEST:
        return 0.0
    generator = np.random.default_rng(0)
    one = generator.integers(0, count, _DRAWN)
    other = (one + generator.integers(1, count, _DRAWN)) % count
    one, other = different[one], different[other]
    values = np.concatenate([_agreement(greys[one[at]], greys[other[at]]) for at in _batches(_DRAWN, _BATCH)])
    fifth, twentieth = np.quantile(np.arctanh(np.clip(values, -0.999, 0.999)), [0.8, 0.95])
    beyond = np.log(0.05 * count * (count - 1) / 2 / BY_CHANCE)  # e-folds down the tail
    return float(np.tanh(twentieth + (twentieth - fifth) / np.log(0.2 / 0.05) * beyond))


def candidates(hashes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose hashes differ in at most 16 bits, of an image the nearest 32 behind it: distances, firsts, seconds.

    int64 arrays of one length, first < second. All pairs are compared, a block of them as one product of matrices:
    with bits as 1 and -1 two hashes at distance d have the product 64 - 2 d.
    """
    words = np.array(hashes, dtype=np.uint64)
    signs = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, np.int64),) * 3]
    height = min(_BLOCK, _AT_ONCE // max(1, len(words)) + 1)
    for start in range(0, len(words), height):
        product = signs[start : start + height] @ signs[start:].T
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


def _linked(
    greys: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, tried: np.ndarray, *, same: float, links: Links
) -> tuple[list[Near], int]:
    """Links the candidates that agree by `same`, in their order, and says which these are and how many were not tried.

    tried: how well each candidate agrees, NaN where that was not asked so far; filled in here.
    """
    found: list[Near] = []
    for at in _batches(len(firsts), _BATCH):
        pairs = list(zip(range(at.start, at.stop), firsts[at].tolist(), seconds[at].tolist(), strict=False))
        new = [place for place, a, b in pairs if np.isnan(tried[place]) and not links.linked(a, b)]
        if new and np.isfinite(tried).sum() >= MOST:
            return found, len(firsts) - at.start
        tried[new] = _agreement(greys[firsts[new]], greys[seconds[new]])
        for place, a, b in pairs:
            if tried[place] >= same and not links.linked(a, b):
                links.link(a, b)
                found.append(Near(a, b, min(1.0, float(tried[place]))))
    return found, 0


def _different(greys: np.ndarray, links: Links, *, same: float) -> list[int]:
    """One place of each chain; all places of a chain of which most pairs do not agree, for what links it is how alike
    different images are. Twenty pairs of each of the hundred longest chains are asked.
    """
    generator = np.random.default_rng(0)
    loose: set[int] = set()
    for chain in sorted(links.groups(), key=len)[-_CHAINS:]:
        one = generator.integers(0, len(chain), _OF_A_CHAIN)
        other = (one + generator.integers(1, len(chain), _OF_A_CHAIN)) % len(chain)
        places = np.array(chain)
        if np.median(_agreement(greys[places[one]], greys[places[other]])) < same:
            loose.update(chain)
    return [place for place in range(len(greys)) if place in loose or links.root(place) == place]


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those without anything in them stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: np.ndarray = (rows / np.maximum(norms, 1e-6)).astype(np.float32)
    return units


def _rows_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product: np.ndarray = np.einsum("ij,ij->i", one, other)
    return product


def _agreement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How well the details of grey images uint8 (n, 32, 32) agree, aligned, pair by pair: float32 (n,).

    Details are taken of those that are asked about: those of all images would be four times as large as the images.
    """
    return _aligned(_details(one), _details(other))


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


_STRETCHED = np.stack([_resampling(low, high) for low, high in _CROPS])  # (9, 32, 32)
_TALLER = _STRETCHED.reshape(-1, _SIDE)
_SQUARED = (_STRETCHED.transpose(0, 2, 1) @ _STRETCHED).reshape(len(_CROPS), -1)


def _aligned(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The best correlation of details (n, 32, 32) when up to 5 % are cropped off one of the two, in steps of 2.5 %."""
    if not len(one):
        return np.zeros(0, np.float32)
    best: np.ndarray = np.maximum(_cropped(one, other), _cropped(other, one))
    return best


def _cropped(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The best of all ways to crop `one`: with R and S that stretch its rows and columns, and B of length 1 the other,
    sum(R A S' * B) / |R A S'|, where the sum is that of R A * B S, and the squared length that of (R A)' R A * S' S.
    """
    crops = len(_CROPS)
    tall = (_TALLER @ one).reshape(len(one), crops, _SIDE, _SIDE)
    lengths = np.maximum(np.linalg.norm(other, axis=(1, 2), keepdims=True), 1e-6)
    wide = (other / lengths)[:, None] @ _STRETCHED
    products = tall.reshape(len(one), crops, -1) @ wide.reshape(len(one), crops, -1).transpose(0, 2, 1)
    squares = (tall.transpose(0, 1, 3, 2) @ tall).reshape(len(one), crops, -1) @ _SQUARED.T
    best: np.ndarray = (products / np.sqrt(np.maximum(squares, 1e-12))).max(axis=(1, 2))
    return best

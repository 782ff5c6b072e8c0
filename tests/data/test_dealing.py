from collections import Counter

from finetune.data.catalog import Catalog, Sample
from finetune.data.dealing import by_content, by_group


def grouped(sizes):
    samples = [
        Sample(f"{g}/{n}", None, "ab"[n % 2], group=g, sha256=f"{g} {n}") for g, s in sizes.items() for n in range(s)
    ]
    return Catalog(tuple(samples), ("a", "b")), [sample.group for sample in samples]


def test_only_the_places_that_are_asked_for_are_dealt():
    catalog, units = grouped({f"g{place}": 4 for place in range(10)})
    places = range(12, 40)
    for parts in (
        by_group(catalog, units, places, validation=0.2, test=0.2, seed=0),
        by_content(catalog, [s.sha256 for s in catalog.samples], places, validation=0.2, test=0.2, seed=0),
    ):
        assert set().union(*parts) == set(places)
        assert sum(map(len, parts)) == len(places)
        assert all(parts)


def test_a_group_too_large_for_its_share_is_for_training():
    catalog, units = grouped({"large": 60, **{f"g{place}": 2 for place in range(20)}})
    for seed in range(5):
        train, validation, test = by_group(catalog, units, range(100), validation=0.1, test=0.1, seed=seed)
        assert Counter(units[place] for place in train)["large"] == 60
        assert (len(validation), len(test)) == (10, 10)

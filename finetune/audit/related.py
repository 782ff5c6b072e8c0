"""Which images belong together and must not be learnt from and asked about: copies, groups, series of names."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from finetune.audit import duplicates, leaks
from finetune.audit.alike import Links
from finetune.audit.gather import Gathered


def related(known: Gathered, *, also: Iterable[Sequence[str]] = ()) -> dict[str, str]:
    """For every image that has a look the key of the first image that it belongs together with, often its own.

    Together are images that show exactly or nearly the same, images of one group of the data, images whose names are of
    one series, and the keys in each of `also`.
    """
    keys = [sample.key for sample in known.seen]
    groups: dict[str, list[str]] = defaultdict(list)
    for sample in known.seen:
        if sample.group is not None:
            groups[sample.group].append(sample.key)
    found, _ = duplicates.copies(known)
    sets: list[Sequence[str]] = [[sample.key for sample in group.samples] for group in found]
    sets += groups.values()
    sets += [[sample.key for sample in members] for members in leaks.series(known.seen).values()]
    place = {key: number for number, key in enumerate(keys)}
    links = Links(len(keys))
    for together in (*sets, *also):
        for key in together[1:]:
            links.link(place[together[0]], place[key])
    return {key: keys[links.root(number)] for number, key in enumerate(keys)}

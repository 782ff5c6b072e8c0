"""What is wrong with the data of a bundle, by its files and by the run's own answers, with pictures of the images that
are named.
"""

from collections.abc import Mapping

from finetune.audit.audit import Audit, audit
from finetune.bundle.facts import dump
from finetune.data.catalog import Sample
from finetune.diagnose import answered, tiles
from finetune.review.material import Material
from finetune.scores.predictions import Predictions

MOST = 200
SIDE = 96
PER_ROW = 10
_EACH = 12  # images of one finding, after the first two of all


def files(material: Material, answers: Mapping[str, Predictions], *, network: str, threads: int) -> dict[str, bytes]:
    """`evidence/audit.json`, as `Audit.to_dict` has it, with "tiles": side, per_row and keys of the pictures of at most
    200 images that findings name, in `evidence/audit.jpg`; None and no picture where they name none.

    answers: what models said of images that they had not learnt from, by part, which tells labels that are probably
    wrong and the score without leaks; network: the name of what answered.
    """
    found = audit(answered.looked(material.known, answers, network=network))
    shown = _shown(found)
    said = found.to_dict() | {"tiles": None}
    if not shown:
        return {"evidence/audit.json": dump(said)}
    said["tiles"] = {"side": SIDE, "per_row": PER_ROW, "keys": [sample.key for sample in shown]}
    picture = tiles.sprite(tiles.drawn(shown, SIDE, threads=threads), SIDE, per_row=PER_ROW)
    return {"evidence/audit.jpg": picture, "evidence/audit.json": dump(said)}


def _shown(found: Audit) -> list[Sample]:
    """The first two images of every finding before the later ones of any."""
    samples = {sample.key: sample for sample in found.known.seen}
    keys = dict.fromkeys(
        key
        for some in (slice(0, 2), slice(2, _EACH))
        for finding in found.findings
        for key in finding.keys[some]
        if key in samples
    )
    return [samples[key] for key in list(keys)[:MOST]]

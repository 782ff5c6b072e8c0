"""What a head on the network as it came answers about the asked images, beside what was trained."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from finetune.audit.gather import Gathered
from finetune.bundle.facts import dump
from finetune.choose import heads as probes
from finetune.data.catalog import Catalog
from finetune.data.store import Store
from finetune.diagnose import growth
from finetune.diagnose.asked import Asked
from finetune.errors import BundleError, DataError, Offline, WeightsError
from finetune.frozen.extract import Extractor, Looks
from finetune.model import weights
from finetune.predict import Check
from finetune.recipe.network import Multilayer, Random
from finetune.review.material import Material
from finetune.runtime import Runtime
from finetune.scores.metrics import scores
from finetune.scores.paired import differences

NAME = "evidence/baseline.json"
ANSWERS = "evidence/baseline.npz"


def files(
    known: Material, asked: Asked, runtime: Runtime, *, curve: bool, check: Callable[[str], Check]
) -> Mapping[str, bytes]:
    """`evidence/baseline.json`: the accuracy of a head that was fitted to the frozen features of all other images,
    chosen as schedule `probe` chooses it, on the asked images, and how much better what ships answers the same ones,
    with paired intervals; or why there is none. `evidence/baseline.npz`: its answers. With `curve` the learning curve
    of that head too. Nothing for random weights, whose features nobody would fit a head to.

    Raises UnreadableImage, and what `check` raises.
    """
    recipe = known.recipe
    if isinstance(recipe.backbone.weights, Random):
        return {}
    try:
        network = weights.network(recipe, classes=0)[0]
        train = _learnt(known.known, asked.part)
        with Store.open() as store:
            looks = Looks(network.contract.preprocessing(recipe.images), recipe.images.augment, recipe.seed)
            extractor = Extractor(network, looks=looks, runtime=runtime, store=store)
            seen = check("features")
            given = probes.material(extractor, train, stages=recipe.stages, views=1, seed=recipe.seed, check=seen)
            features = extractor.pooled(asked.catalog.samples, stages=recipe.stages, check=seen)[0]
    except (Offline, WeightsError, BundleError, DataError) as error:
        return {NAME: dump({"reason": str(error).splitlines()[0]})}
    shape = recipe.head if isinstance(recipe.head, Multilayer) else None
    probe = probes.fit(given, head=shape, threads=runtime.threads, check=check("heads"))
    answers = replace(asked.predictions, logits=probe.fitted.logits(features), thresholds=None)
    name = "subset_accuracy" if answers.multilabel else "accuracy"
    said = {
        "part": asked.part,
        "images": len(train),
        "accuracy": scores(answers)[name],
        "difference": differences(answers, asked.predictions)[name],
    }
    found = {NAME: dump(said), ANSWERS: answers.to_bytes()}
    if curve:
        found |= growth.files(given, probe, seed=recipe.seed, check=check("learning curve"))[0]
    return found


def _learnt(known: Gathered, asked: str) -> Catalog:
    """All images of the run that are not asked, validation images too, as schedule `probe` learns from them; with the
    hashes that they have.
    """
    parts = {"train", "validation"} - {asked}
    samples = tuple(
        replace(sample, sha256=known.looks[sample.key].sha256)
        for sample in known.catalog.samples
        if known.part(sample.key) in parts and sample.key in known.looks
    )
    return Catalog(samples, known.catalog.classes)

"""The typed recipe: all that a user may ask for, with defaults and ranges. Knows no YAML, images or networks."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from finetune.recipe import backbones, cifar
from finetune.recipe.dataset import DataChoice
from finetune.recipe.images import Images
from finetune.recipe.network import BackboneChoice, HeadChoice, Linear, Mlp, Multilayer, Random
from finetune.recipe.rates import PlateauRate, SteppedRate, never_reduced, stepped_beyond
from finetune.recipe.schedule import (
    Auto,
    Gradual,
    Head,
    LpFt,
    PhaseChoice,
    Phases,
    Probe,
    Schedule,
    Stages,
    starts_from_probe,
    trains_backbone,
    written_phases,
)
from finetune.recipe.section import SHORTEST, STAGES, Conflict, KeyPath, PathText, RunName, Section, Stage
from finetune.recipe.splits import Folds, Given, SplitChoice, Stored
from finetune.recipe.training import OF_STEPS, Train
from finetune.recipe.transforms import RandomCrop

Tracker = Literal["tensorboard", "mlflow"]


class Recipe(Section):
    """Everything that was asked for. Paths are absolute when it was read from a file."""

    name: RunName = Field(description="names the run's folder; without it the recipe file's name does")
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataChoice
    corrections: PathText | None = Field(
        None, description="a CSV file, relative to the recipe: path, action (relabel or exclude), label; null: none"
    )
    split: SplitChoice | None = Field(None, discriminator="kind")
    backbone: BackboneChoice
    head: HeadChoice | None = Field(
        None, discriminator="kind", description="null: linear; with a probe whichever shape fits best"
    )
    schedule: Schedule = Field(Head(), discriminator="kind")
    images: Images = Images()
    train: Train = Train()
    evidence: Literal["basic", "full"] = Field(
        "basic",
        description="what is looked into at the end; full: maps, embedding, corruptions, an audit too",
    )
    track: tuple[Tracker, ...] = Field(
        (), description="who writes the run down too, in the bundle's track folder; each is an extra of this package"
    )

    @property
    def phases(self) -> tuple[PhaseChoice, ...]:
        """The phases of its schedule, as written."""
        return written_phases(self.schedule, self.all_stages)

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages of its backbone from the stem up, and the head."""
        return (*backbones.entry(self.backbone.name).stages, "head")

    @property
    def last(self) -> Stage:
        """The stage of its backbone that ends at the classifier's input."""
        return self.all_stages[-2]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose features the head sees."""
        return self.head.stages if isinstance(self.head, Multilayer) else (self.last,)

    def keeps(self, phase: PhaseChoice) -> bool:
        """Whether what enters the stages that a phase trains can be computed once and kept: all that the head sees has
        to follow from it.
        """
        return not trains_backbone(phase) or ("stem" not in phase.train and self.stages == (self.last,))

    @property
    def decodes_again(self) -> bool:
        """Whether images are needed more than once, and not all views of them in one pass."""
        one_pass = self.train.views and len(self.phases) == 1 and self.keeps(self.phases[0])
        return not isinstance(self.schedule, Probe) and (starts_from_probe(self.schedule) or not one_pass)

    def followed(self) -> Mapping[str, object]:
        """Where a schedule does not say which stages it trains, all that the backbone has."""
        schedule, stages = self.schedule, self.all_stages
        if isinstance(schedule, LpFt) and "train" not in schedule.model_fields_set and stages != STAGES:
            return {"schedule": schedule.model_copy(update={"train": stages})}
        if isinstance(schedule, Gradual) and "stages" not in schedule.model_fields_set and stages != STAGES:
            return {"schedule": schedule.model_copy(update={"stages": len(stages) - 1})}
        return {}

    def conflicts(self) -> Iterator[Conflict]:
        yield from self._stage_conflicts()
        yield from self._split_conflicts()
        yield from self._patience_conflicts()
        yield from self._best_conflicts()
        yield from self._rate_conflicts()
        yield from self._head_conflicts()
        yield from self._step_conflicts()
        yield from self._views_conflicts()
        yield from self._batch_norm_conflicts()
        yield from self._image_conflicts()
        yield from self._store_conflicts()
        yield from self._candidate_conflicts()
        for place, kind in enumerate(self.track):
            if kind in self.track[:place]:
                yield ("track", place), f"tracker {kind!r} is listed twice"

    def _stage_conflicts(self) -> Iterator[Conflict]:
        facts, schedule = backbones.entry(self.backbone.name), self.schedule
        named: list[tuple[KeyPath, tuple[Stage, ...]]] = []
        if isinstance(schedule, Stages | LpFt):
            named.append((("schedule", "train"), schedule.train))
        for place, phase in self._listed_phases():
            named.append((("schedule", "phases", place, "train"), phase.train))
        if isinstance(self.head, Multilayer):
            named.append((("head", "stages"), self.head.stages))
        for where, stages in named:
            for place, stage in enumerate(stages):
                if stage not in self.all_stages:
                    yield (*where, place), f"{stage!r}: {facts.has()}"
        if isinstance(schedule, Gradual) and schedule.stages > len(facts.stages):
            yield ("schedule", "stages"), f"{schedule.stages} stages are more than there are: {facts.has()}"

    def _split_conflicts(self) -> Iterator[Conflict]:
        if isinstance(self.split, Given) and self.data.pool:
            yield (
                ("data", "pool"),
                "pool: true puts the split folders together, so none of them is given; drop one of the two",
            )
        if isinstance(self.split, Folds) and isinstance(self.schedule, Auto):
            runs = self.split.folds + 1
            if self.schedule.seconds < SHORTEST * runs:
                yield (
                    ("schedule", "budget"),
                    f"a budget of {self.schedule.budget} is shared by {self.split.folds} folds and what ships, which "
                    f"need {SHORTEST}s each; write at least {SHORTEST * runs}s, or fewer folds",
                )

    @property
    def _longest(self) -> int:
        """The epochs of the longest phase; 0 where there is none, or where that is yet to be found out."""
        return max((phase.epochs for phase in self.phases), default=0)

    def _unwatched(self) -> str:
        """Why there are no validation images to watch; nothing where there may be some."""
        unsaid = self.split is None or (isinstance(self.split, Folds) and self.split.validation is None)
        if isinstance(self.split, Stored):
            return ""  # what that run held out is known when it is read
        if self.split is not None and not unsaid and not self.split.validation:
            return "there are no validation images"
        if unsaid and starts_from_probe(self.schedule):
            return f"schedule {self.schedule.kind!r} holds out no validation images unless split says so"
        return ""

    def _patience_conflicts(self) -> Iterator[Conflict]:
        patience, epochs, unwatched = self.train.patience, self._longest, self._unwatched()
        where, start = ("train", "patience"), "patience has no effect"
        if patience is None:
            return
        if not epochs:
            yield where, f"{start}: schedule {self.schedule.kind!r} has no phase that it could end"
            return
        if unwatched:
            yield where, f"{start}: it watches the validation loss, and {unwatched}"
        if patience >= epochs:
            yield where, f"{start}: it has to be below the epochs of the longest phase, which are {epochs}"

    def _best_conflicts(self) -> Iterator[Conflict]:
        if self.train.best == "loss" or isinstance(self.schedule, Probe):
            return
        where, start = ("train", "best"), "best has no effect"
        if not self._longest:
            yield where, f"{start}: schedule {self.schedule.kind!r} plans its own phases"
        elif unwatched := self._unwatched():
            yield where, f"{start}: {unwatched}, so that the last epoch ships"

    def _rate_conflicts(self) -> Iterator[Conflict]:
        train, epochs, found = self.train, self._longest, list[Conflict]()
        if not isinstance(train.rate, SteppedRate | PlateauRate) or isinstance(self.schedule, Probe):
            return
        if not epochs:
            yield ("train", "rate"), f"schedule {self.schedule.kind!r} plans its own epochs; choose cosine or constant"
        elif isinstance(train.rate, SteppedRate):
            found += stepped_beyond(train.rate, epochs=epochs, warmup=train.warmup)
        elif unwatched := self._unwatched():
            yield ("train", "rate"), f"a plateau is one of the validation loss, and {unwatched}"
        else:
            peaks = [phase.lr for phase in self.phases]
            found += never_reduced(train.rate, epochs=epochs, warmup=train.warmup, patience=train.patience, peaks=peaks)
        yield from ((("train", *path), text) for path, text in found)

    def _head_conflicts(self) -> Iterator[Conflict]:
        kind, dropout = self.schedule.kind, isinstance(self.head, Linear) and self.head.dropout
        if isinstance(self.schedule, Auto) and self.head is not None:
            yield ("head",), "schedule 'auto' chooses the head itself; leave head out"
        elif starts_from_probe(self.schedule) and isinstance(self.head, Mlp):
            yield (
                ("head",),
                f"schedule {kind!r} cannot fit an mlp; choose linear, cosine or multilayer, or leave head out",
            )
        elif starts_from_probe(self.schedule) and dropout:
            yield ("head", "dropout"), f"dropout has no effect: the head of schedule {kind!r} is fitted, and has none"
        if isinstance(self.head, Multilayer) and self.stages == (self.last,):
            yield (
                ("head", "stages"),
                f"the features of {self.last} alone are what every head sees; write kind: linear",
            )
        trained = {stage for phase in self.phases for stage in phase.train}
        highest = max(STAGES.index(stage) for stage in self.stages)
        unseen = [stage for stage in STAGES[highest + 1 : -1] if stage in trained and stage in self.all_stages]
        if unseen:
            yield (
                ("head", "stages"),
                f"the head sees nothing above {STAGES[highest]}, so training {' and '.join(unseen)} has no effect; "
                f"add {unseen[-1]} to stages, or leave frozen what it does not see",
            )

    def _step_conflicts(self) -> Iterator[Conflict]:
        if isinstance(self.schedule, Probe):
            for key in OF_STEPS:
                if getattr(self.train, key) != getattr(Train(), key):
                    yield ("train", key), f"{key} has no effect: schedule 'probe' takes no gradient steps"

    def _views_conflicts(self) -> Iterator[Conflict]:
        views, augment = self.train.views or 0, self.images.augment
        if views and not starts_from_probe(self.schedule) and not any(map(self.keeps, self.phases)):
            stem = all("stem" in phase.train for phase in self.phases)
            why = "every phase trains the stem" if stem else "the head sees stages below those that train"
            yield ("train", "views"), f"views has no effect: {why}, so that nothing can be kept"
        if views > 1 and augment.kind == "none" and not augment.flip:
            yield ("train", "views"), "views has no effect: images.augment varies nothing, so that all are the same"
        if self.train.activations == "float16" or isinstance(self.schedule, Auto):
            return
        where, start = ("train", "activations"), "activations has no effect"
        if not any(self.keeps(phase) and trains_backbone(phase) for phase in self.phases):
            yield where, f"{start}: maps are kept where a phase trains the upper stages only, and none does"
        elif not views and not isinstance(self.schedule, LpFt):
            yield where, f"{start}: nothing is kept unless train.views says how many views"

    def _batch_norm_conflicts(self) -> Iterator[Conflict]:
        asked, thawed = self.train.batch_norm, [p for p in self.phases if trains_backbone(p)]
        random, auto = isinstance(self.backbone.weights, Random), isinstance(self.schedule, Auto)
        if asked is not None and not auto and all(phase.batch_norm is not None for phase in thawed):
            why = "every phase has its own" if thawed else "a backbone that is frozen whole keeps its statistics"
            yield ("train", "batch_norm"), f"batch_norm has no effect: {why}"
        if random and asked == "pretrained":
            yield ("train", "batch_norm"), _NOTHING_PRETRAINED
        for place, phase in self._listed_phases():
            if random and phase.batch_norm == "pretrained":
                yield ("schedule", "phases", place, "batch_norm"), _NOTHING_PRETRAINED
            if phase.batch_norm == "batch" and self.train.batch_size == 1:
                yield ("schedule", "phases", place, "batch_norm"), "batch_norm 'batch' needs a batch_size of at least 2"
        undecided = asked is None and (auto or any(phase.batch_norm is None for phase in thawed))
        if random and undecided and self.train.batch_size == 1:
            yield (
                ("train", "batch_size"),
                "random weights need a batch_size of at least 2: one image has no statistics to learn",
            )

    def _listed_phases(self) -> Iterator[tuple[int, PhaseChoice]]:
        if isinstance(self.schedule, Phases):
            yield from enumerate(self.schedule.phases)

    def _image_conflicts(self) -> Iterator[Conflict]:
        facts = backbones.entry(self.backbone.name).tag(self.backbone.tag)
        size, crop = self.images.size, self.images.fit == "crop"
        if facts.fixed and size not in (None, facts.input_size):
            yield ("images", "size"), f"backbone {self.backbone.name!r} takes images of {facts.input_size} pixels only"
        side = size or facts.input_size
        for place, transform in enumerate(self.images.augment.transforms or ()):
            if isinstance(transform, RandomCrop) and transform.padding >= side:
                where = ("images", "augment", "transforms", place, "padding")
                yield where, f"padding must be below the {side} pixels of a view, else some show nothing of the image"
        if self.images.contract == "test":
            other_size = facts.test_input_size not in (None, facts.input_size)
            other_crop = facts.test_crop_pct not in (None, facts.crop_pct)
            if not other_size and not other_crop:
                yield (
                    ("images", "contract"),
                    "contract 'test' has no effect: these weights were tested as they were trained",
                )
            elif not (other_size and size is None) and not (other_crop and crop):
                yield ("images", "contract"), "contract 'test' has no effect beside the size and fit that are given"

    def _store_conflicts(self) -> Iterator[Conflict]:
        if self.images.store is not None and not self.decodes_again:
            probe = isinstance(self.schedule, Probe)
            why = "schedule 'probe' decodes" if probe else "where all views are kept, a single phase decodes"
            yield ("images", "store"), f"store has no effect: {why} each image once"

    def _candidate_conflicts(self) -> Iterator[Conflict]:
        for place, choice in enumerate(self.schedule.candidates if isinstance(self.schedule, Auto) else ()):
            where, facts = ("schedule", "candidates", place), backbones.entry(choice.name).tag(choice.tag)
            if choice == self.backbone:
                yield where, f"backbone {choice.name!r} is the recipe's own, which is tried first; name others"
            if facts.fixed and self.images.size not in (None, facts.input_size):
                yield where, f"backbone {choice.name!r} takes images of {facts.input_size} pixels only"


_NOTHING_PRETRAINED = (
    "batch_norm 'pretrained' needs pretrained weights, and these are random; leave it out or write 'batch'"
)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, for editors that complete and check while one types."""
    schema = Recipe.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    schema["$defs"]["BackboneChoice"]["properties"]["name"]["anyOf"] = [
        {"enum": list(backbones.names())},
        {"pattern": cifar.PATTERN},
    ]
    schema["title"] = "finetune recipe"
    return schema

"""A run under way: what all its parts share, and what it says of itself as it goes. Decides nothing."""

from dataclasses import dataclass, field

from finetune.bundle import Bundle, Timings
from finetune.choose.budget import Budget
from finetune.choose.heads import Material
from finetune.data.pixels import Pixels
from finetune.data.store import Store
from finetune.data.survey import Survey
from finetune.errors import printable
from finetune.frozen.folds import never_held_out
from finetune.model import weights
from finetune.model.backbone import Backbone
from finetune.predict import Check
from finetune.recipe import plantext
from finetune.recipe.cost import Costs
from finetune.recipe.plan import Plan
from finetune.recipe.schema import Recipe
from finetune.record import notes
from finetune.runtime import Runtime, StopRequests
from finetune.train.boundary import needed
from finetune.train.setting import Setting
from finetune.train.tracking import Trackers
from finetune.train.watching import Show, checking

_NAMED = 5  # classes of a note


@dataclass
class Job:
    """What a run and its resumption have in common. `recipe` is what was asked, the plan may say more."""

    recipe: Recipe
    bundle: Bundle
    surveyed: Survey
    runtime: Runtime
    store: Store
    pixels: Pixels
    stop: StopRequests
    show: Show
    timings: Timings
    budget: Budget = field(default_factory=Budget)
    costs: Costs | None = None
    networks: dict[str, tuple[Backbone, weights.Receipt]] = field(default_factory=dict)
    trackers: Trackers = field(default_factory=Trackers)
    heard: set[str] = field(default_factory=set)  # notes on what is kept

    def check(self, what: str) -> Check:
        """What is called between the batches of a part."""
        return checking(self.show, self.stop, what)

    def network(self, recipe: Recipe) -> tuple[Backbone, weights.Receipt]:
        """The recipe's backbone with its weights, made once."""
        name = recipe.backbone.model_dump_json()
        if name not in self.networks:
            self.networks[name] = weights.network(recipe, classes=len(self.surveyed.classes))
        return self.networks[name]

    def setting(self, recipe: Recipe, network: Backbone, plan: Plan | None = None) -> Setting:
        """What stays the same while a plan of this recipe is trained."""
        known, plan = self.surveyed.split, plan or Plan((), ())
        make_room(self.pixels, recipe, self.surveyed, network)
        return Setting.of(
            recipe, known, plan, network=network, runtime=self.runtime, store=self.store, pixels=self.pixels
        )

    def note(self, *said: str) -> None:
        """Says what is worth knowing, and keeps it in the bundle."""
        for note in said:
            self.show.say(note)
        notes(self.bundle, said)

    def say_start(self, plan: Plan) -> None:
        """How many images there are, what is to be said of them, and what will be tried."""
        counts = self.surveyed.counts()
        parts = f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test images"
        if self.surveyed.folds:
            parts = f"{counts['train']} training and {counts['validation']} validation images"
            parts = parts if counts["validation"] else f"{counts['train']} images"
        several = ", any number of them for each image" if self.surveyed.split.train.multi_label else ""
        self.show.say(f"{parts} of {len(self.surveyed.classes)} classes{several}; {counts['left_out']} left out")
        for line in (*self.surveyed.notes, *(plan.reasons if plan.tiers else ())):
            self.show.say(line)
        for line in plantext.tried(plan, self.recipe) if plan.tiers and plan.chosen is None else ():
            self.show.say(line)
        self.show.say(f"bundle: {printable(str(self.bundle.folder))}")

    def say_of_cache(self) -> None:
        """What could not be kept, each thing once."""
        found = (*self.store.notes, *self.pixels.notes)
        for note in found:
            if note not in self.heard:
                self.show.say(note)
        self.heard.update(found)

    def say_of_maps(self, setting: Setting, network: Backbone) -> None:
        """What will be kept below the stages that train, before any of it is computed."""
        for phase in setting.plan.phases:
            stage = phase.boundary(network.stages)
            if phase.views is not None and stage not in (None, network.last):
                images, size, kept = len(setting.split.train), setting.preprocessing.size, setting.train.activations
                self.show.say(needed(network, str(stage), images=images, views=phase.views, size=size, stored_as=kept))

    def say_never_held_out(self, given: Material) -> None:
        """The scores of held-out images say nothing of classes that have none."""
        never = never_held_out(given.labels, given.folds)
        if never:
            names = ", ".join(given.catalog.classes[label] for label in never[:_NAMED])
            more = f" and {len(never) - _NAMED} more" if len(never) > _NAMED else ""
            self.note(f"classes with one image or group each, which held-out scores say nothing of: {names}{more}")


def make_room(pixels: Pixels, recipe: Recipe, surveyed: Survey, network: Backbone, *, must: bool = False) -> None:
    """For the working images of all that is learnt from; test images are decoded once."""
    samples = (*surveyed.split.train.samples, *surveyed.split.validation.samples)
    pixels.prepare(samples, network.contract.preprocessing(recipe.images), must=must)

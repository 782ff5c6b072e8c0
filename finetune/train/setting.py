"""What stays the same throughout a training: the plan, the images and how they look, the machine."""

from dataclasses import dataclass, field

from finetune.data.decode import Preprocessing
from finetune.data.pixels import Pixels
from finetune.data.split import Split
from finetune.data.store import Store
from finetune.frozen.extract import Extractor, Looks
from finetune.model.backbone import Backbone
from finetune.recipe.plan import Plan
from finetune.recipe.schema import Recipe
from finetune.recipe.training import Train
from finetune.runtime import Runtime
from finetune.views import TrainingViews


@dataclass(frozen=True)
class Setting:
    """What stays the same throughout a training; `store` is where activations at a freeze boundary are kept, `pixels`
    where working images come from.
    """

    plan: Plan
    split: Split
    preprocessing: Preprocessing
    views: TrainingViews
    train: Train
    seed: int
    runtime: Runtime
    store: Store | None = None
    pixels: Pixels = field(default_factory=Pixels)

    def extractor(self, network: Backbone) -> Extractor:
        """What a frozen network makes of images, by the views and the store of this setting."""
        looks = Looks(self.preprocessing, self.views.augment, self.seed)
        return Extractor(network, looks=looks, runtime=self.runtime, store=self.store, pixels=self.pixels)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        split: Split,
        plan: Plan,
        *,
        network: Backbone,
        runtime: Runtime,
        store: Store | None = None,
        pixels: Pixels | None = None,
    ) -> "Setting":
        """The setting that a recipe means with a network."""
        preprocessing = network.contract.preprocessing(recipe.images)
        return cls(
            plan=plan,
            split=split,
            preprocessing=preprocessing,
            views=TrainingViews(recipe.images.augment, preprocessing, seed=recipe.seed),
            train=recipe.train,
            seed=recipe.seed,
            runtime=runtime,
            store=store,
            pixels=pixels or Pixels(),
        )

"""Transfer learning for image classification: a folder of your own images, and the question which is which.

    bundle = finetune.run("recipe.yaml")
    predictions = finetune.load(bundle.folder).predict("new_photos/")

Importing this package loads nothing else; each public name brings its room when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from finetune.bundle import Bundle
    from finetune.data.adapters.frames import from_frame, from_paths
    from finetune.data.catalog import Catalog
    from finetune.errors import FinetuneError
    from finetune.frozen.table import Features, features
    from finetune.job import resume, run
    from finetune.model.maps import backbone
    from finetune.predict import Predictor, load
    from finetune.recipe.schema import Recipe
    from finetune.scores.predictions import Predictions

__all__ = [
    "Bundle",
    "Catalog",
    "Features",
    "FinetuneError",
    "Predictions",
    "Predictor",
    "Recipe",
    "backbone",
    "features",
    "from_frame",
    "from_paths",
    "load",
    "resume",
    "run",
]

_ROOMS = {
    "Bundle": "finetune.bundle",
    "Catalog": "finetune.data.catalog",
    "Features": "finetune.frozen.table",
    "FinetuneError": "finetune.errors",
    "Predictions": "finetune.scores.predictions",
    "Predictor": "finetune.predict",
    "Recipe": "finetune.recipe.schema",
    "backbone": "finetune.model.maps",
    "features": "finetune.frozen.table",
    "from_frame": "finetune.data.adapters.frames",
    "from_paths": "finetune.data.adapters.frames",
    "load": "finetune.predict",
    "resume": "finetune.job",
    "run": "finetune.job",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'finetune' has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

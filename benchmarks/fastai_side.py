"""One run of fastai's quick start, in an environment that has fastai: python -P benchmarks/fastai_side.py --help

`fastai.py` starts it and times it from outside. The -P keeps this folder off the import path, where that file would
be taken for the library.

Chosen for fastai wherever there was a choice:

- The code is that of its quick start (docs.fast.ai/quick_start.html): ImageDataLoaders with item_tfms=Resize(224),
  batches of 64, vision_learner, fine_tune with its own rates and its one frozen epoch. Augmentation is left out there,
  and so it is here; "aug_transforms" in a setting adds it.
- The quick start holds 20 % of the images out to print their error after each epoch, and nothing is chosen by it. Here
  fastai learns from all training images, as finetune does: more images, and no time spent on that print. "held out" in
  a setting puts the 20 % back.
- The weights come through timm's own way for a file, with pretrained=True, so that fastai itself freezes the body,
  keeps its BatchNorm training and normalises as it does with weights that it downloads.
- Two workers read images. The test images are seen once, after training.
"""

import argparse
import importlib.metadata
import json
from pathlib import Path

import timm
from fastai.vision.all import (
    ImageDataLoaders,
    Learner,
    Resize,
    aug_transforms,
    error_rate,
    get_image_files,
    set_seed,
    vision_learner,
)
from safetensors.torch import load_file
from torch import Tensor

NETWORK = "tf_efficientnet_lite0"
PACKAGES = ("fastai", "fastcore", "torch", "torchvision", "timm", "pillow", "numpy")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("root", type=Path, help="a folder with train/ and test/ in it")
    options.add_argument("--weights", type=Path, required=True, help="a .safetensors file with timm's names")
    options.add_argument("--epochs", type=int, default=4, help="as in fine_tune(epochs)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--held-out", action="store_true", help="learn from 80 %% of the training images")
    options.add_argument("--augment", action="store_true", help="with aug_transforms()")
    options.add_argument("--output", type=Path, help="the answers to the test images, as JSON")
    options.add_argument(
        "--check", action="store_true", help="only look whether the weights are in, and the body frozen"
    )
    given = options.parse_args()
    set_seed(given.seed)
    learner = made(given.root, weights=given.weights, held_out=given.held_out, augment=given.augment)
    if given.check:
        check(learner, given.weights)
        return
    learner.fine_tune(given.epochs)
    facts = {
        "answers": answers(learner, given.root / "test"),
        "images": len(learner.dls.train_ds),
        "batch": learner.dls.train.bs,
        "workers": learner.dls.train.fake_l.num_workers,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    given.output.write_text(json.dumps(facts))


def made(root: Path, *, weights: Path, held_out: bool, augment: bool) -> Learner:
    """The learner of the quick start; without images held out its validation set is empty."""
    place, share = (root / "train", 0.2) if held_out else (root, None)
    loaders = ImageDataLoaders.from_folder(
        place,
        valid_pct=share,
        item_tfms=Resize(224),
        batch_tfms=aug_transforms() if augment else None,
        num_workers=2,
    )
    file = {"file": str(weights)}
    return vision_learner(loaders, NETWORK, metrics=error_rate, pretrained_cfg_overlay=file)


def answers(learner: Learner, folder: Path) -> dict[str, str]:
    """What is predicted for each image: "class folder/name" -> class."""
    files = sorted(get_image_files(folder))
    scores, _ = learner.get_preds(dl=learner.dls.test_dl(files))
    predicted = [learner.dls.vocab[place] for place in scores.argmax(dim=1).tolist()]
    return {f"{file.parent.name}/{file.name}": answer for file, answer in zip(files, predicted, strict=True)}


def check(learner: Learner, weights: Path) -> None:
    """Fails unless the learner is what `vision_learner` makes of weights that it has downloaded itself."""
    body, expected = learner.model[0].model.state_dict(), load_file(weights)
    different = [name for name in expected if name not in body or not body[name].equal(expected[name])]
    if different or len(body) != len(expected):
        raise SystemExit(f"{len(different)} of {len(expected)} tensors are not those of the file: {different[:3]}")
    norms = {
        id(value) for part in learner.model[0].modules() if hasattr(part, "running_mean") for value in part.parameters()
    }
    trains = [
        name for name, value in learner.model[0].named_parameters() if value.requires_grad and id(value) not in norms
    ]
    if trains:
        raise SystemExit(f"the body is not frozen: {trains[:3]}")
    [normal] = [step for step in learner.dls.after_batch.fs if type(step).__name__ == "Normalize"]
    contract = timm.get_pretrained_cfg(NETWORK)
    if not (close(normal.mean, contract.mean) and close(normal.std, contract.std)):
        raise SystemExit(f"normalised with {normal.mean.flatten().tolist()}, not with {contract.mean}")
    print(f"{len(body)} tensors as in the file, body frozen but for its norms, normalised as timm says")


def close(found: Tensor, expected: tuple[float, ...]) -> bool:
    return max(abs(one - other) for one, other in zip(found.flatten().tolist(), expected, strict=True)) < 1e-6


if __name__ == "__main__":
    main()

"""Whether a run can go on exactly: the images, the weights and the machine of a bundle against those of now."""

from collections.abc import Mapping

from finetune.bundle.folder import Bundle
from finetune.errors import BundleError, listing


def same_images(bundle: Bundle, catalog_csv: str) -> None:
    """Raises BundleError, naming them, where images are not those that the run began with."""
    before = bundle.read("catalog.csv").decode()
    if before != catalog_csv:
        then, here = dict.fromkeys(before.splitlines()), dict.fromkeys(catalog_csv.splitlines())
        gone = [f"then: {line}" for line in then if line not in here]
        new = [f"now:  {line}" for line in here if line not in then]
        raise BundleError(
            "the images are not those that the run began with, so it cannot go on exactly; put them back, or run the "
            f"recipe again into a new folder{listing([*gone, *new])}"
        )


def same_weights(bundle: Bundle, sha256: str | None) -> None:
    """Raises BundleError where the weights file is another one than the run began with; before it began any will do."""
    before = bundle.facts.get("receipt", {}).get("sha256", sha256)
    if sha256 != before:
        raise BundleError(
            f"the pretrained weights have changed since the run began: SHA-256 {before} then, {sha256} now; "
            "put the file back, or run the recipe again into a new folder"
        )


def differences(bundle: Bundle, decided: Mapping[str, object], versions: Mapping[str, str]) -> str:
    """What of the machine and the packages is not as it was, in words; empty where nothing is."""
    before, now = {**bundle.facts["decided"], **bundle.facts["versions"]}, {**decided, **versions}
    changed = [f"{name} {before[name]} then, {now.get(name)} now" for name in before if before[name] != now.get(name)]
    return f"resumed elsewhere, so not bit for bit what an uncut run leaves: {'; '.join(changed)}" if changed else ""

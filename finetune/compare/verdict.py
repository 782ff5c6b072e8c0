"""What a comparison comes to, in sentences: the same on the terminal and on the page."""

from finetune.compare.comparison import LETTERS, Comparison, Pair
from finetune.compare.same import PARTS
from finetune.compare.side import Side
from finetune.errors import printable

NAMES = {
    "accuracy": "accuracy",
    "subset_accuracy": "all labels right",
    "macro_f1": "macro F1",
    "log_loss": "log-loss",
    "brier": "Brier",
}


def called(comparison: Comparison) -> str:
    """What to call the images: 'test', 'validation', 'held-out' also where folds held out each of them once."""
    in_folds = any(side.row.part == "folds" for side in comparison.sides)
    return PARTS["out_of_fold" if in_folds else comparison.part]


def verdict(comparison: Comparison, pair: Pair) -> str:
    """Which of the two is right more often, or that none was shown to be, and between which bounds the truth lies."""
    first, second = LETTERS[pair.first], LETTERS[pair.second]
    what = "has all labels of more images right" if comparison.several else "is right on more images"
    difference = pair.differences[comparison.metric]
    low, high = points(difference["low"]), points(difference["high"])
    if not pair.lost + pair.gained:
        return f"{first} and {second} are right on the same images, and wrong on the same."
    if not pair.differs:
        return f"No difference is shown: {second} − {first} lies between {low} and {high} points."
    better, worse = (second, first) if difference["value"] > 0 else (first, second)
    return f"{better} {what} than {worse}: {second} − {first} lies between {low} and {high} points."


def test(comparison: Comparison, pair: Pair) -> str:
    """How many images flipped, and how likely that is where neither is better."""
    first, second = LETTERS[pair.first], LETTERS[pair.second]
    flipped = (
        f"Of {comparison.images:,} images {first} alone has {pair.lost:,} right and {second} alone {pair.gained:,}"
    )
    if not pair.lost + pair.gained:
        return f"{flipped}."
    others = len(comparison.pairs)
    named = "exact McNemar test, by group" if pair.by_group else "exact McNemar test"
    corrected = f", {probability(pair.p_holm)} corrected for {others} comparisons (Holm)" if others > 1 else ""
    return f"{flipped}; {named}: {probability(pair.p)}{corrected}."


def notes(comparison: Comparison) -> list[str]:
    """What one should know of these scores before believing them."""
    found = []
    if comparison.part == "validation":
        found.append(
            "These are validation images, on which each run may have chosen its epoch: the scores are optimistic."
        )
    if comparison.part == "out_of_fold":
        found.append("These are images held out while each run chose its head: the scores are slightly optimistic.")
    counts = [side.learnt_from for side in comparison.sides]
    if len(set(counts)) > 1:
        said = ", ".join(
            f"{letter} from {count:,}" for letter, count in zip(LETTERS, counts, strict=False) if count is not None
        )
        found.append(f"They have learnt from different numbers of images: {said}.")
    return found


def learnt(side: Side) -> str:
    """'resnet18, probe', 'resnet50, auto: last stage': the network, the schedule, and what `auto` took."""
    tier = f": {side.row.tier.replace('_', ' ')}" if side.row.tier else ""
    schedule = f"{side.row.schedule.replace('_', '-')}{tier}" if side.row.schedule else ""
    return printable(", ".join(part for part in (side.row.backbone, schedule) if part), limit=50)


def points(share: float) -> str:
    """A difference of shares 0..1 in hundredths, with its sign."""
    shown = f"{abs(100 * share):.1f}"
    return shown if float(shown) == 0 else f"{'+' if share > 0 else '−'}{shown}"


def probability(p: float) -> str:
    """'p = 0.34', 'p = 0.012', 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}"

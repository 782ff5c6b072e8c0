"""Where every image was held out in a fold: what each of the folds says, and how far they lie apart."""

import statistics

from finetune.report import stages, trials
from finetune.report.course import Fold
from finetune.report.evidence import Evidence
from finetune.report.records import Score
from finetune.report.sourced import Value


def table(evidence: Evidence) -> dict[str, object]:
    """A row for each fold with how it learnt, and the span of their scores, which is no interval."""
    several = evidence.several
    main = [_main(fold) for fold in evidence.folds]
    values = [score.value for score in main if score and score.value is not None]
    return {
        "rows": [(fold, score, _learnt(evidence, fold)) for fold, score in zip(evidence.folds, main, strict=True)],
        "accuracy": "All labels right" if several else "Accuracy",
        "low": Value(min(values, default=None), "least(evidence/folds.json:)"),
        "high": Value(max(values, default=None), "most(evidence/folds.json:)"),
        "deviation": Value(statistics.stdev(values), "deviation(evidence/folds.json:)") if len(values) > 1 else None,
        "joined": evidence.scores and (evidence.scores.accuracy or evidence.scores.subset_accuracy),
    }


def _main(fold: Fold) -> Score | None:
    return fold.scores.accuracy or fold.scores.subset_accuracy


def _learnt(evidence: Evidence, fold: Fold) -> str:
    """'linear discriminants, then stage4, head', with the backbone where it is not the one that ships."""
    own = evidence.facts.backbone
    parts = [] if own is None or fold.backbone == own.name else [fold.backbone]
    parts += [trials.family(fold.trial)] if fold.trial else []
    trained = "all stages" if set(fold.trained) == set(stages.of(fold.backbone)) else ", ".join(fold.trained)
    parts += (
        [f"training {trained} for {fold.epochs} {'epoch' if fold.epochs == 1 else 'epochs'}"] if fold.epochs else []
    )
    return ", then ".join(parts)

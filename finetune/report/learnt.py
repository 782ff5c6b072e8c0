"""How did it learn? Curves by phase, rates, what was compared, and the time that each part took."""

from finetune.report import curves, trials, words
from finetune.report.evidence import Evidence
from finetune.report.section import ALL_RIGHT, Part, Section, missing, section
from finetune.report.sourced import at, shown
from finetune.report.stages import stages


def how_did_it_learn(evidence: Evidence) -> Section:
    """What was compared, what was trained, and how long it took."""
    drawn = learning(evidence)
    nothing = missing("No stage has taken a gradient step, so there is no curve to draw.", "") if not drawn else None
    parts = (choice(evidence), drawn or nothing, seconds(evidence))
    return section("learnt", "How did it learn?", "How learnt", *parts)


def choice(evidence: Evidence) -> Part | None:
    """The ways and the heads that were compared, and which of them ships."""
    if not (evidence.ways or evidence.heads):
        return None
    ships, taken = trials.shipped(evidence), trials.taken_head(evidence)
    values = {
        "guard": trials.guard(evidence),
        "ways": [(way, trials.said(way), place == ships) for place, way in enumerate(evidence.ways)],
        "not_tried": trials.not_tried(evidence) if evidence.ways else [],
        "heads": [
            (head, trials.family(head.trial), trials.setting(head.trial), head is taken)
            for head in trials.leaders(evidence.heads, taken)
        ],
        "compared": trials.COMPARED,
        "count": len(evidence.heads),
        "taken": trials.family(taken.trial) if taken else "",
        "began": bool(evidence.plan and evidence.plan.phases),
        "accuracy": ALL_RIGHT if evidence.several else "Accuracy",
        "several": evidence.several,
    }
    return Part("choice", "What was compared", values)


def learning(evidence: Evidence) -> Part | None:
    """Loss and accuracy by epoch, and which stages trained when."""
    title = ALL_RIGHT if evidence.several else "Accuracy"
    drawn = (curves.loss(evidence.epochs), curves.accuracy(evidence.epochs, title=title), curves.rate(evidence.epochs))
    charts = [chart for chart in drawn if chart]
    if not charts:
        return None
    best = next((at(epoch, "epoch") for epoch in reversed(evidence.epochs) if epoch.best), None)
    values = {
        "charts": charts,
        "phases": [(band, stages(band.train, evidence.facts.backbone)) for band in curves.bands(evidence.epochs)],
        "best": best if any(chart.best for chart in charts) else None,
        "validation": any(line.kind == "validation" for chart in charts for line in chart.lines),
    }
    return Part("learning", "Epoch by epoch", values)


def seconds(evidence: Evidence) -> Part | None:
    """The time that each part of the run took; epochs together, folds together."""
    found: dict[str, tuple[float, list[str]]] = {}
    for place, (part, taken) in enumerate(evidence.seconds):
        name = next((f"{kind}s" for kind in ("epoch", "fold") if part.startswith(f"{kind} ")), part)
        before, sources = found.get(name, (0.0, []))
        found[name] = (before + taken, [*sources, f"timings.jsonl:{place}.seconds"])
    if not found:
        return None
    total = sum(taken for taken, _ in found.values())
    rows = [
        (name, shown(words.duration(taken), *sources, verb="duration"), taken / total if total else 0.0)
        for name, (taken, sources) in found.items()
    ]
    every = [source for _, sources in found.values() for source in sources]
    return Part("seconds", "Time", {"rows": rows, "total": shown(words.duration(total), *every, verb="duration")})

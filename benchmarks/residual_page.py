"""The page and the figure on residual connections, drawn from measured lines and from nothing else."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

STAGES = ("stem", "stage1", "stage2", "stage3")
COLOURS = {"20": "#7a7f85", "56": "#d55e00"}
FIGURE = "residual-connections.svg"

Row = dict[str, Any]


def write(lines: Sequence[Row], folder: Path, *, rate: float) -> None:
    """Writes both into a folder, the same for the same lines: those of this rate, and of others a sentence."""
    rows = [line for line in lines if line["rate"] == rate]
    others = [line for line in lines if line["rate"] != rate]
    with mpl.rc_context(
        {"svg.hashsalt": "residual", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        drawn = figure(rows)
        drawn.savefig(folder / FIGURE, metadata={"Date": None})
        plt.close(drawn)
    (folder / "residual-connections.md").write_text(page(rows, others), encoding="utf-8")


def figure(rows: Sequence[Row]) -> Any:
    """Errors by epoch above, gradients by stage below; plain networks left, residual ones right."""
    drawn, panels = plt.subplots(2, 2, figsize=(8, 6.2), sharey="row", layout="constrained")
    for column, kind in enumerate(("plain", "resnet")):
        errors, gradients = panels[0][column], panels[1][column]
        for depth, colour in COLOURS.items():
            row = _row(rows, kind, depth)
            numbers = [line["epoch"] for line in row["history"]]
            for part, style in (("train", "--"), ("validation", "-")):
                shares = [100 * (1 - line[f"{part}_accuracy"]) for line in row["history"]]
                label = f"{depth} layers, {'training' if part == 'train' else 'validation'}"
                errors.plot(numbers, shares, style, color=colour, label=label)
            for last, style in ((False, "o-"), (True, "o:")):
                norms = [gradient(row, stage, last=last) for stage in STAGES]
                filled = colour if last else "white"
                label = f"{depth} layers, {'last' if last else 'first'} step"
                gradients.plot(STAGES, norms, style, color=colour, markerfacecolor=filled, label=label)
        errors.set_title("plain" if kind == "plain" else "residual", fontweight="bold")
        errors.set_xlabel("epoch")
        errors.set_xticks(numbers)
        gradients.set_yscale("log")
        for panel in (errors, gradients):
            panel.grid(axis="y", color="#e1e1db")
            panel.set_axisbelow(True)
    panels[0][0].set_ylabel("error, %")
    panels[1][0].set_ylabel("norm of the gradient")
    panels[0][1].legend(frameon=False, fontsize=8)
    panels[1][1].legend(frameon=False, fontsize=8)
    return drawn


def page(rows: Sequence[Row], others: Sequence[Row]) -> str:
    """The page as Markdown; `others`: lines of other learning rates."""
    plain, residual = _row(rows, "plain", "56"), _row(rows, "resnet", "56")
    epochs, batch = plain["epochs"], plain["batch_size"]
    counts, decided, versions = plain["images"], plain["decided"], plain["versions"]
    learnt, validation = counts["train"], counts["validation"]
    steps = sum(max(one["step"] for one in line["health"]) for line in plain["history"])
    dates = " to ".join(dict.fromkeys((min(r["date"] for r in rows), max(r["date"] for r in rows))))
    commits = ", ".join(sorted({row["commit"].removesuffix("-dirty") for row in rows}))
    seconds = ", ".join(f"{row['network']} {row['seconds'] / 60:.0f} min" for row in rows)
    return f"""\
# What residual connections do

`benchmarks/residual.py` wrote this page and its figure from the lines of `benchmarks/residual.jsonl`, which it measures
by running `finetune run`; what it says of its measurements is worked out from them.

## The idea

A block of a plain network turns what it is given, x, into F(x). A block of a residual network gives F(x) + x: the
layers only learn what to add to what is there already. Nothing else differs; the sum costs next to nothing, and where
the shape of x does not change it has no weights. He et al. (2015) introduced it because deeper plain networks did
*worse on the images they were trained on*: on CIFAR-10 a plain network of 56 layers ends with a larger training error
than one of 20. More layers can do whatever fewer do, by passing on what they are given, so that is no matter of too
much capacity: the deeper network is harder to optimise.

The gradient of a layer is a product of the derivatives of all layers above it. If these factors are mostly smaller than
one it **vanishes** on its way down, if they are mostly larger it **explodes**, and exponentially with depth in either
case. Through a residual block the derivative is that of F *plus the identity*, so that a part of the gradient comes
down past every block as it is (He et al. 2016, equation 5).

Batch normalisation (Ioffe and Szegedy 2015) keeps the scale of what goes up: no signal vanishes on its way forward,
with or without skips. He et al. (2015, section 4.1) report that with it the gradients of their plain networks are of a
sound size too, and argue that vanishing gradients are unlikely to be what makes these hard to train. Yang et al. (2019)
work out that at initialisation it is the contrary that happens: in plain networks with batch normalisation gradients
explode with depth, because of it, and after a single step of training their range is much smaller.

## What was measured

![Errors by epoch, and gradients by stage, of plain and of residual networks](residual-connections.svg)

Above: the share of wrong answers by epoch, on training images as they were varied (dashed) and on validation images.
Below: the norm of the gradient of each stage at the first step, before anything was learnt, and at the last one.

**This is not the run of the paper**: {learnt:,} of its 50,000 training images, {epochs} epochs and {steps} steps
instead of 64,000, one seed. It shows how training begins and nothing of how it ends.

| network | training error, % | validation error, % | test error, % (95 % interval) |
| --- | --- | --- | --- |
{chr(10).join(_errors(row) for row in _ordered(rows))}

After {epochs} epochs, the test error after the one with the lowest validation loss; {validation} images
for validation and {counts["test"]} for the test.

### Gradients

| gradient of | plain, 20 | plain, 56 | residual, 20 | residual, 56 |
| --- | --- | --- | --- | --- |
{chr(10).join(_gradients(rows, stage, last=last) for last in (False, True) for stage in STAGES)}
{chr(10).join(_ratio(rows, last=last) for last in (False, True))}

The norm of the gradient of all weights of a stage, on one batch of {batch} images. That of the first stage
of 56 layers, the stem, was
- {_first(plain)} in the plain network,
- {_first(residual)} in the residual one.

{_said(rows, others)}

## How

- `{plain["network"]}` and the others are those of He et al. (2015), section 4.2: option A, that is shortcuts without
  weights, and weights drawn as He et al. (2015b) have it.
- Stochastic gradient descent with Nesterov's momentum 0.9, weight decay 1e-4, batches of {batch}, a rate
  that falls from {plain["rate"]} to 0 along half a cosine (the paper's 0.1 is for batches of 128; Goyal et al. 2017
  scale it so); no warm-up, no clipping; random crops and mirroring.
- {decided["precision"]} on {decided["device"]}, threads: {decided["threads"]}; torch {versions["torch"]}.
  {seconds}, under other load.
- {dates}, commit {commits}.

The same numbers, for a network and images of your own: every report has them under "How did it learn?", and
`finetune plan RECIPE --probe-gradients` compares a network with itself without its skip connections before any step.

## Sources

- Goyal and others 2017, Accurate, Large Minibatch SGD, arXiv 1706.02677.
- He, Zhang, Ren, Sun 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385.
- He, Zhang, Ren, Sun 2015b, Delving Deep into Rectifiers, arXiv 1502.01852.
- He, Zhang, Ren, Sun 2016, Identity Mappings in Deep Residual Networks, arXiv 1603.05027.
- Ioffe, Szegedy 2015, Batch Normalization, arXiv 1502.03167.
- Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz 2019, A Mean Field Theory of Batch Normalization, arXiv 1902.08129.
"""


def gradient(row: Row, stage: str, *, last: bool) -> float:
    """The norm of the gradient of a stage at the first or at the last step of a run."""
    return seen(row, stage, "gradient", last=last)


def seen(row: Row, stage: str, what: str, *, last: bool) -> float:
    """What was seen of a stage at the first or at the last step of a run."""
    found = [one[what] for line in row["history"] for one in line["health"] if one["stage"] == stage]
    return float(found[-1 if last else 0])


def spread(row: Row, *, last: bool) -> float:
    """How many times the largest gradient of a stage is the smallest."""
    norms = [gradient(row, stage, last=last) for stage in STAGES]
    return max(norms) / min(norms)


def _said(rows: Sequence[Row], others: Sequence[Row]) -> str:
    """What the numbers come to; every sentence is chosen by them."""
    plain, residual = _row(rows, "plain", "56"), _row(rows, "resnet", "56")
    low, high = (gradient(plain, stage, last=False) for stage in ("stage3", "stage1"))
    way = "explodes on its way down" if high > 10 * low else "vanishes on its way down" if low > 10 * high else "stays"
    first = (
        f"At the first step the gradient of the plain network of 56 layers {way}: from {_number(low)} in stage3 to "
        f"{_number(high)} in stage1, {_number(high / low)} times as large; the stages of the residual one lie within a "
        f"factor of {_number(spread(residual, last=False))}."
    )
    then = (
        f"After {plain['epochs']} epochs the stages of the plain one lie within a factor of "
        f"{_number(spread(plain, last=True))}, those of the residual one within {_number(spread(residual, last=True))}."
    )
    moved = {
        (kind, stage): _number(100 * seen(row, stage, "update", last=False))
        for kind, row in (("plain", plain), ("residual", residual))
        for stage in ("stem", "stage3")
    }
    step = (
        f"That first step moved the stem of the plain network by {moved['plain', 'stem']} % of the norm of its weights "
        f"and stage3 by {moved['plain', 'stage3']} %, those of the residual one by {moved['residual', 'stem']} % and "
        f"{moved['residual', 'stage3']} %: one learning rate does for all stages only where their gradients are alike."
    )
    if seen(plain, "stem", "update", last=False) > 1:
        step += (
            " Batch normalisation takes no notice of how large the weights before it are, but the gradient of larger "
            "weights is smaller by as much (Ioffe and Szegedy 2015, section 3.3); so what was thrown far by its first "
            "step learns slowly from then on."
        )
    errors = {(kind, depth): _error(_row(rows, kind, depth)) for kind in ("plain", "resnet") for depth in COLOURS}
    gaps = {kind: errors[kind, "56"] - errors[kind, "20"] for kind in ("plain", "resnet")}
    harder = {kind: f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'}" for kind, gap in gaps.items()}
    better = errors["plain", "56"] - errors["resnet", "56"]
    came = (
        f"Of 56 layers the residual network ends with a training error {abs(better):.1f} points "
        f"{'below' if better > 0 else 'above'} that of the plain one. The error of 56 layers is {harder['plain']} that "
        f"of 20 in plain networks, and {harder['resnet']} it in residual ones."
    )
    if gaps["resnet"] > 0:
        came += (
            " In the paper the deeper residual network ends below the shallower one; so short a run does not show "
            "that, nor does it speak against it."
        )
    return "\n\n".join(
        "\n".join(textwrap.wrap(text, 120)) for text in (f"{first} {then}", step, came, *_elsewhere(others))
    )


def _elsewhere(others: Sequence[Row]) -> Iterator[str]:
    """What came of other learning rates."""
    for row in others:
        yield (
            f"At a rate of {row['rate']:g}, for batches of {row['batch_size']}, `{row['network']}` had a training loss "
            f"of {row['history'][0]['train_loss']:.2f} in the first epoch and of "
            f"{row['history'][-1]['train_loss']:.2f} in epoch {row['epochs']}, with a training error of "
            f"{_error(row):.1f} %."
        )


def _row(rows: Sequence[Row], kind: str, depth: str) -> Row:
    return next(row for row in rows if row["network"] == f"cifar_{kind}{depth}")


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return [_row(rows, kind, depth) for kind in ("plain", "resnet") for depth in COLOURS]


def _error(row: Row) -> float:
    return 100 * (1 - float(row["history"][-1]["train_accuracy"]))


def _errors(row: Row) -> str:
    test = row["test"]
    ends = f"{100 * (1 - test['high']):.1f} to {100 * (1 - test['low']):.1f}"
    validation = 100 * (1 - row["history"][-1]["validation_accuracy"])
    return f"| `{row['network']}` | {_error(row):.1f} | {validation:.1f} | {100 * (1 - test['value']):.1f} ({ends}) |"


def _gradients(rows: Sequence[Row], stage: str, *, last: bool) -> str:
    cells = " | ".join(_number(gradient(row, stage, last=last)) for row in _ordered(rows))
    return f"| {stage}, {'last' if last else 'first'} step | {cells} |"


def _ratio(rows: Sequence[Row], *, last: bool) -> str:
    cells = " | ".join(_number(spread(row, last=last)) for row in _ordered(rows))
    return f"| largest over smallest, {'last' if last else 'first'} step | {cells} |"


def _first(row: Row) -> str:
    before, after = (_number(gradient(row, "stem", last=last)) for last in (False, True))
    return f"{before} at initialisation and {after} after training"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"

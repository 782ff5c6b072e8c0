"""`predict` and `evaluate`: a finished bundle at work."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from finetune.diagnose.elsewhere import Elsewhere
    from finetune.errors import UnreadableImage
    from finetune.predict import Predictor, Score

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=_PATH)
@click.argument("paths", metavar="PATHS…", nargs=-1, required=True, type=_PATH)
@click.option("--output", type=_PATH, help="Write a .csv or .jsonl file instead of a table.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="How many answers for each image: one unless said; labels are all that are above their thresholds.",
)
@_JSON
def predict(bundle: Path, paths: tuple[Path, ...], output: Path | None, top: int | None, as_json: bool) -> None:
    """Answer for images and folders of images, in the order given.

    An image that cannot be read is a row with its reason.
    """
    from finetune.cli.show import watch
    from finetune.errors import DataError, UsageError, printable
    from finetune.starter import must_be_a_place, must_exist

    must_exist(bundle)
    if output and output.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--output {printable(str(output))!r} is neither .csv nor .jsonl")
    if output:
        must_be_a_place(output, read=paths)
    with watch() as show:
        from finetune.predict import gather, load

        predictor = load(bundle)
        if predictor.thresholds is not None and top is not None:
            raise UsageError("--top has no effect: this bundle answers with every label above its threshold")
        pictures = gather(paths)
        answers = predictor.logits(pictures, check=lambda done, total: show.progress("predicting", done, total))
    rows = [_row(str(path), answer, predictor, top or 1) for path, answer in zip(pictures, answers, strict=True)]
    _give(rows, output=output, as_json=as_json, top=top or 1)
    unread = sum(row["error"] is not None for row in rows)
    if unread:
        click.echo(f"{unread} of {len(rows)} images could not be read; each has a row with the reason", err=True)
    if unread == len(rows):
        raise DataError("none of the images could be read")


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=_PATH)
@click.argument("folder", metavar="[FOLDER|TABLE]", type=_PATH, required=False)
@click.option("--output", type=_PATH, help="Write a .csv or .jsonl file with a row for each image.")
@click.option("--html", "page", type=_PATH, help="Write the report on these images to this file.")
@click.option("--evidence", is_flag=True, help="Take all evidence of the bundle's own images into it, for its report.")
@_JSON
def evaluate(
    bundle: Path, folder: Path | None, output: Path | None, page: Path | None, evidence: bool, as_json: bool
) -> None:
    """Score a bundle on labelled images, and say how they differ from its own: class folders with the names that it
    knows, or a table.

    With --evidence, and then also without images: look at the images that it was tested on once more, and add what is
    found to the bundle and to its report.
    """
    from finetune.bundle import Bundle
    from finetune.cli.show import watch
    from finetune.errors import UsageError, printable
    from finetune.starter import must_be_a_page, must_be_a_place, must_exist

    must_exist(bundle)
    if folder is None:
        if not evidence:
            raise UsageError("nothing to evaluate on: name a folder or a table of labelled images, or say --evidence")
        for option in (name for name, value in (("--output", output), ("--html", page)) if value):
            raise UsageError(f"{option} has no effect without images to score; name a folder or a table of them")
    else:
        must_exist(folder)
    if output and output.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--output {printable(str(output))!r} is neither .csv nor .jsonl")
    if output:
        must_be_a_place(output, read=[folder] if folder else [])
    if page:
        must_be_a_page(page, option="--html")
    if evidence:
        _take_evidence(bundle, quiet=as_json)
    if folder is None:
        if as_json:
            click.echo(json.dumps({"bundle": str(bundle), "evidence": _evidence(bundle)}, indent=1))
        return
    with watch() as show:
        from finetune.diagnose import elsewhere
        from finetune.predict import load, score_folder

        predictor, opened = load(bundle), Bundle.open(bundle)
        result = score_folder(predictor, folder, check=lambda done, total: show.progress("evaluating", done, total))
        found = elsewhere.compared(
            opened, predictor, result, check=lambda done, total: show.progress("looking at images", done, total)
        )
        if page:
            from finetune.report import render

            drawn = elsewhere.evaluation(
                opened,
                predictor,
                result,
                found,
                command=("finetune", *sys.argv[1:]),
                source=folder,
                check=lambda what: lambda done, total: show.progress(what, done, total),
            )
            page.write_text(render(drawn), encoding="utf-8")
    if page:
        click.echo(f"page written to {printable(str(page))}", err=True)
    if output:
        rows = [
            {**_row(sample.key, logits, predictor, 1), "label": "|".join(sample.labels)}
            for sample, logits in zip(result.catalog.samples, result.predictions.logits, strict=True)
        ]
        _give(rows, output=output, as_json=False, top=1)
    if as_json:
        click.echo(json.dumps(_evaluated(bundle, result, found), indent=1, allow_nan=False))
    else:
        _say_evaluated(result, found)


def _evaluated(bundle: Path, result: "Score", found: "Elsewhere") -> dict[str, Any]:
    drift = found.drift
    return {
        "bundle": str(bundle),
        "images": len(result.catalog),
        "seen_in_training": len(found.seen),
        "seen_when_scored": len(found.own),
        "left_out": [[left.key, left.reason] for left in result.catalog.left_out],
        "classes_without_images": _without(result),
        "against_own_test_images": drift["difference"] if drift and drift["part"] == "test" else None,
        "drift": drift,
        "scores": result.scores,
    }


def _say_evaluated(result: "Score", found: "Elsewhere") -> None:
    from finetune.cli.wording import fitted, scores_table
    from finetune.errors import printable

    for left in result.catalog.left_out:
        click.echo(f"left out: {left.key}: {left.reason}", err=True)
    click.echo(scores_table(result.scores, images=len(result.catalog)))
    if without := _without(result):
        click.echo(f"classes without images here: {', '.join(map(printable, without))}")
    for line in (*_drift(found), *found.notes):
        click.echo("\n".join(fitted(line)))


def _drift(found: "Elsewhere") -> list[str]:
    """How the images differ from the bundle's own, in sentences."""
    from pydantic import TypeAdapter

    from finetune.report import drifted
    from finetune.report.looked import Compared

    if found.drift is None:
        return ["the bundle was scored on no images, so there are none to compare these with"]
    said = TypeAdapter(Compared).validate_python(found.drift)
    lines = [*drifted.differing(said), *drifted.scored(said)]
    if found.lacking:
        lines.append(
            f"not compared, for it is not known of the bundle's own images: {', '.join(found.lacking)};\n"
            "`finetune evaluate BUNDLE --evidence` takes it"
        )
    return lines


def _without(result: "Score") -> list[str]:
    return [row["class"] for row in result.scores["per_class"] if not row["support"]]


def _take_evidence(bundle: Path, *, quiet: bool) -> None:
    from finetune import report
    from finetune.cli.show import watch
    from finetune.errors import printable
    from finetune.report import card

    with watch() as show:
        from finetune.diagnose.evidence import later

        found = later(bundle, check=lambda what: lambda done, total: show.progress(what, done, total))
        page = report.write(found)
        card.write(found)  # its notes are others now
    if not quiet:
        click.echo(f"{', '.join(_evidence(bundle))} taken; report: {printable(str(page))}")


def _evidence(bundle: Path) -> list[str]:
    from finetune.bundle import Bundle

    files = Bundle.open(bundle).facts["files"]
    return sorted(name for name in files if name.startswith("evidence/"))


def _row(path: str, answer: "np.ndarray | UnreadableImage", predictor: "Predictor", top: int) -> dict[str, Any]:
    """The most probable classes, or all labels above their thresholds, the most probable first, beside `shares` of all
    labels.
    """
    classes, several = predictor.classes, predictor.thresholds is not None
    shares = dict.fromkeys(classes) if several else {}
    if not isinstance(answer, np.ndarray):
        return {"path": path, "answers": [], "shares": shares, "error": str(answer)}
    from finetune.scores.predictions import Predictions

    answered = predictor.answered(Predictions((path,), answer[None], classes, None))
    probabilities = answered.probabilities[0]
    best = np.argsort(-probabilities, kind="stable")
    best = best[answered.predicted[0][best]] if several else best[:top]
    if several:
        shares = dict(zip(classes, probabilities.tolist(), strict=True))
    answers = [(classes[place], float(probabilities[place])) for place in best]
    return {"path": path, "answers": answers, "shares": shares, "error": None}


def _give(rows: Sequence[dict[str, Any]], *, output: Path | None, as_json: bool, top: int) -> None:
    from finetune.errors import printable

    objects = [_object(row) for row in rows]
    if as_json:
        click.echo(json.dumps({"images": objects}, indent=1, allow_nan=False))
    if output is None:
        if not as_json:
            for row in rows:
                said = ", ".join(f"{printable(name)} {share:.3f}" for name, share in row["answers"])
                click.echo(f"{printable(row['path'])}: {said or row['error'] or 'no label'}")
        return
    if output.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in objects)
    else:
        text = _csv(rows, top)
    output.write_text(text, encoding="utf-8", newline="")
    click.echo(f"{len(rows)} rows in {printable(str(output))}", err=True)


def _object(row: dict[str, Any]) -> dict[str, Any]:
    """What a row is as JSON; undecodable bytes of a path are written as escapes."""
    answers = [{"class": name, "probability": share} for name, share in row["answers"]]
    label = {"label": row["label"]} if "label" in row else {}
    shares = {"probabilities": row["shares"]} if row["shares"] else {}
    return {
        "path": row["path"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        **label,
        "answers": answers,
        **shares,
        "error": row["error"],
    }


def _csv(rows: Sequence[dict[str, Any]], top: int) -> str:
    """A header, and a row for each image: its answers, or the labels that it has and the probability of every label."""
    from finetune.errors import cell

    labelled = any("label" in row for row in rows)
    top = min(top, max((len(row["answers"]) for row in rows), default=1) or 1)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    several = next((list(row["shares"]) for row in rows if row["shares"]), None)
    if several:
        answers = ["labels", *(cell(f"probability of {name}") for name in several)]
    else:
        places = [""] if top == 1 else [f"_{place}" for place in range(1, top + 1)]
        answers = [f"{what}{place}" for place in places for what in ("class", "probability")]
    writer.writerow(["path", *(["label"] if labelled else []), *answers, "error"])
    for row in rows:
        if several:
            named = cell("|".join(name for name, _ in row["answers"]))
            given = [named, *("" if share is None else f"{share:.6f}" for share in row["shares"].values())]
        else:
            given = [text for name, share in row["answers"] for text in (cell(name), f"{share:.6f}")]
            given += [""] * (2 * top - len(given))
        writer.writerow([cell(row["path"]), *([cell(row["label"])] if labelled else []), *given, row["error"] or ""])
    return table.getvalue()

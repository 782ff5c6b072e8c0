"""Evidence as it is taken while the images are at hand, drawn up from simulated answers: every file of it."""

import io
import math

import numpy as np
from PIL import Image

from finetune.scores.intervals import wilson

KINDS = (
    ("noise", "of 255", (8, 16, 32)),
    ("blur", "px", (1, 2, 4)),
    ("jpeg", "quality", (40, 20, 10)),
    ("brightness", "times", (0.7, 0.5, 0.3)),
    ("contrast", "times", (0.7, 0.5, 0.3)),
    ("rotation", "degrees", (5, 15, 30)),
    ("occlusion", "of the side", (0.2, 0.35, 0.5)),
    ("resolution", "of the side", (0.5, 0.25, 0.125)),
)


def share(right, images):
    low, high = wilson(right, images)
    return {"value": right / images, "low": low, "high": high}


def right(predictions):
    return predictions.predicted == predictions.labels


def calibration(predictions):
    """The shape of metrics.json's, with values of these answers."""
    sure, hits = predictions.probabilities.max(axis=1), right(predictions)
    bins = []
    for low in np.arange(0, 1, 0.1):
        inside = (sure > low) & (sure <= low + 0.1)
        if count := int(inside.sum()):
            accuracy = share(int(hits[inside].sum()), count)
            bins.append({"low": float(low), "high": float(low) + 0.1, "images": count, "accuracy": accuracy})
            bins[-1]["confidence"] = float(sure[inside].mean())
    gaps = [one["images"] * abs(one["accuracy"]["value"] - one["confidence"]) for one in bins]
    loss = {"log_loss": {"value": 0.61, "low": 0.5, "high": 0.74}, "brier": {"value": 0.3, "low": 0.26, "high": 0.35}}
    after = {
        "log_loss": {"value": 0.55, "low": 0.46, "high": 0.66},
        "brier": {"value": 0.28, "low": 0.24, "high": 0.33},
    }
    return {
        "bins": bins,
        "ece": sum(gaps) / len(sure),
        "ece_band": [0.021, 0.083],
        "temperature": {"value": 1.31, "chosen_on": "validation", "before": loss, "after": after},
    }


def selective(predictions):
    sure, hits = predictions.probabilities.max(axis=1), right(predictions)
    order = np.argsort(-sure)
    counts = np.unique(np.linspace(1, len(order), 60).astype(int))
    wrong = np.cumsum(~hits[order])
    targets = []
    for accuracy, threshold in ((0.9, 0.55), (0.98, 0.83)):
        given = sure > threshold
        asked = share(int(hits[given].sum()), max(1, int(given.sum())))
        covered = share(int(given.sum()), len(sure))
        targets.append({"accuracy": accuracy, "threshold": threshold, "coverage": covered, "selective_accuracy": asked})
    targets.append({"accuracy": 0.995, "reason": "no threshold reaches it on the validation images"})
    coverage = [float(count / len(order)) for count in counts]
    return {"coverage": coverage, "risk": [float(wrong[n - 1] / n) for n in counts], "targets": targets}


def mosaic(count, side, per_row, *, seed=0, quality=70, grain=4):
    """One JPEG of small pictures, each a few smooth colours."""
    generator = np.random.default_rng(seed)
    rows = math.ceil(count / per_row)
    small = generator.integers(40, 220, (grain * rows, grain * per_row, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((side * per_row, side * rows), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def write(bundle, predictions, *, part="test", side=48, suspected=6, tsne=True, grain=4):
    """Writes every file of `evidence/` that is taken of these answers."""
    generator = np.random.default_rng(5)
    keys, count, hits = list(predictions.keys), len(predictions), right(predictions)
    order = np.argsort(hits, kind="stable")[:5000]
    bundle.write("evidence/tiles.jpg", mosaic(len(order), side, 50, grain=grain))
    tiled = [keys[row] for row in order]
    bundle.write_json("evidence/tiles.json", {"part": part, "side": side, "per_row": 50, "keys": tiled})
    centres = generator.normal(size=(len(predictions.classes), 2)) * 4
    pca = centres[predictions.predicted] + generator.normal(size=(count, 2)) * 0.7
    bundle.write_json(
        "evidence/embedding.json",
        {
            "part": part,
            "keys": keys,
            "pca": pca.round(4).tolist(),
            "explained": [0.31, 0.17],
            "tsne": (3 * pca[:, ::-1]).round(3).tolist() if tsne else None,
            **({"perplexity": 30.0} if tsne else {"reason": "there are fewer than 10 images"}),
        },
    )
    if bundle.has("evidence/thumbnails.json"):
        worst = bundle.read_json("evidence/thumbnails.json")
        bundle.write("evidence/maps.jpg", mosaic(len(worst), 96, 10, seed=3))
        maps = {"method": "HiResCAM", "stages": ["stage3", "stage4"], "keys": worst}
        bundle.write_json("evidence/maps.json", maps | {"peaks": [[0.5, 0.4]] * len(worst)})
    bundle.write_json("evidence/corruptions.json", _corruptions(hits, keys, part, generator))
    bundle.write_json("evidence/slices.json", _slices(hits, generator))
    lower = share(max(0, int(hits.sum()) - 5), count)
    apart = {"value": hits.mean() - lower["value"], "low": 0.004, "high": 0.061}
    bundle.write_json("evidence/baseline.json", {"images": 459, "accuracy": lower, "difference": apart})
    bundle.write_json("evidence/audit.json", _audit(predictions, suspected))
    bundle.write("evidence/audit.jpg", mosaic(min(20, count), 64, 10, seed=4))


def _corruptions(hits, keys, part, generator):
    rows = []
    for place, (kind, unit, parameters) in enumerate(KINDS):
        for severity, parameter in enumerate(parameters, start=1):
            kept = hits & (generator.random(len(hits)) > 0.02 * severity * (place % 5))
            drop = float((hits.astype(float) - kept).mean())
            spread = 1.96 * float((hits.astype(float) - kept).std()) / math.sqrt(len(hits))
            row = {"kind": kind, "severity": severity, "parameter": float(parameter), "unit": unit}
            row |= {"accuracy": share(int(kept.sum()), len(kept))}
            rows.append(row | {"drop": {"value": drop, "low": drop - spread, "high": drop + spread}})
    clean = {"accuracy": share(int(hits.sum()), len(hits))}
    return {"part": part, "images": len(keys), "keys": keys, "clean": clean, "rows": rows}


def _slices(hits, generator):
    rows = []
    for fact, names in (
        ("brightness", ("up to 0.31", "0.31 to 0.52", "above 0.52")),
        ("width", ("up to 300", "300 to 500", "above 500")),
        ("camera", ("Canon EOS 5D", "none is known")),
    ):
        for place, name in enumerate(names):
            inside = generator.random(len(hits)) < 0.35
            inside[:5], inside[5:10] = True, False
            one, rest = (
                share(int(hits[inside].sum()), int(inside.sum())),
                share(int(hits[~inside].sum()), int((~inside).sum())),
            )
            value = one["value"] - rest["value"]
            differs = fact == "brightness" and place == 0
            rows.append(
                {"fact": fact, "slice": name, "images": int(inside.sum()), "accuracy": one, "rest": rest}
                | {
                    "difference": {"value": value, "low": value - 0.09, "high": value + 0.09},
                    "p": 0.004 if differs else 0.3,
                }
                | {"p_holm": 0.032 if differs else 1.0, "differs": differs}
            )
    return rows


def _audit(predictions, suspected):
    keys, classes = list(predictions.keys), predictions.classes
    named = keys[: min(20, len(keys))]
    suspicion = {"given": classes[0], "suggested": classes[-1], "probability_given": 0.01}
    text = f"labelled {classes[0]!r}, and looks like {classes[-1]!r}: 0.97 against 0.01"
    expected = "about 9 of 612 labels are expected to be wrong (1.5 %)"
    findings = [
        found("unreadable", "truncated", "warning", "cannot be read: cut off after 812 bytes", ["rose/broken.jpg"]),
        found("duplicates", "exact-across-parts", "warning", "2 images in train and test are the same file", named[:2]),
        *(
            found("labels", "label-issue", "warning", text, [key])
            | {"figures": suspicion | {"probability_suggested": 0.97 - 0.02 * rank, "rank": rank + 1}}
            for rank, key in enumerate(named[2 : 2 + suspected])
        ),
        found("labels", "expected", "note", expected, []),
        *(found("outliers", "blurred", "note", "is blurred", [key]) for key in named[8:12]),
    ]
    counts = {name: sum(one["severity"] == name for one in findings) for name in ("error", "warning", "note")}
    leak = {"images": len(keys), "leaked": 1, "all": {"value": 0.91, "low": 0.86, "high": 0.95}}
    leak |= {"without_leaked": {"value": 0.905, "low": 0.85, "high": 0.94}}
    leak |= {"difference": {"value": 0.005, "low": -0.001, "high": 0.012}}
    score = {"value": 0.9, "low": 0.87, "high": 0.93}
    deep = {"network": "tf_efficientnet_lite0", "images": 612, "held_out": 612, "reason": ""}
    return {
        "schema": 1,
        "images": len(keys),
        "counts": counts,
        "leaked": keys[:1],
        "deep": deep | {"accuracy": score, "balanced_accuracy": score, "test": leak},
        "findings": findings,
        "tiles": {"side": 64, "per_row": 10, "keys": named},
    }


def found(check, kind, severity, text, keys):
    """A finding of the audit."""
    return {"check": check, "kind": kind, "severity": severity, "text": text, "keys": keys, "figures": {}}

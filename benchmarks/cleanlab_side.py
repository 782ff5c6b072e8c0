"""cleanlab's side of `faults.py`, in an environment of its own: its public functions, called as they are documented.

python cleanlab_side.py INPUT.npz OUTPUT.json: in go arrays labels (n,) int and probabilities (n, classes), out come
places.
"""

import json
import sys
from pathlib import Path

import cleanlab
import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

RANKED_BY = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    with np.load(source) as arrays:
        labels, probabilities = arrays["labels"], arrays["probabilities"]
    found = {"default": np.flatnonzero(find_label_issues(labels, probabilities, n_jobs=1)).tolist()}
    for name in RANKED_BY:
        ranked = find_label_issues(labels, probabilities, return_indices_ranked_by=name, n_jobs=1)
        scores = get_label_quality_scores(labels, probabilities, method=name)
        found[name] = ranked.tolist()
        found[f"{name}, all"] = np.argsort(scores, kind="stable").tolist()
    target.write_text(json.dumps({"found": found, "versions": {"cleanlab": cleanlab.__version__}}))


if __name__ == "__main__":
    main()

"""How many wrong labels are found, and how many of those that are suspected are wrong.

    python benchmarks/label_errors.py                                          # digits
    python benchmarks/label_errors.py --data /usr/share/datasets/fashion-mnist --images 4000

Of the images that are learnt from, 5 % get another label: drawn at random of all classes (`random`), or the class that
a model trained on the right labels most often takes theirs for (`confusion`). Then each is scored by cross-validation
with the wrong labels, and `recipes.evaluate.label_errors.find_label_errors` ranks them. Precision and recall are of all
that are suspected; `at k` is of the first k, k being how many were changed. If cleanlab is installed, its
`find_label_issues` is given the same scores (`filter_by` as it is by default).

A set's own wrong labels count as false alarms. Scores of a fold are kept in `--out`, and what is there is not trained
again.
"""

import argparse
import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

SHARE = 0.05


def changed(labels, classes, share, seed, likely=None):
    """The labels with a share of them changed, and which."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(labels))[: round(share * len(labels))]
    wrong = labels.copy()
    if likely is None:
        wrong[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    else:
        wrong[rows] = likely[labels[rows]]
    return wrong, rows


def out_of_fold(settings, data, pool, folds, seed, out):
    from recipes.search.folds import fold_data, held_out, train_fold

    scores = np.zeros((len(pool), len(data.class_names)))
    told = settings.model_dump_json(exclude={"versions"}).encode() + pool.labels.tobytes()
    for number, held in enumerate(held_out(pool, data.task, folds, seed)):
        file = out / f"{sha256(told + held.tobytes()).hexdigest()[:16]}.npy"
        if not file.exists():
            print(f"fold {number + 1}/{folds}", file=sys.stderr, flush=True)
            np.save(file, train_fold(settings, fold_data(data, pool, held, seed))[1])
        scores[held] = np.load(file)
    return scores


def judged(ranked, wrong):
    """Precision, recall and precision at k of row numbers, the most suspect first."""
    hit = np.isin(ranked, wrong)
    return {
        "suspected": len(ranked),
        "precision": float(hit.mean()) if len(hit) else 0.0,
        "recall": float(hit.sum() / len(wrong)),
        "at k": float(hit[: len(wrong)].sum() / len(wrong)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--images", type=int, help="so many of the set, drawn with a fixed seed")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/label-errors"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    from recipes.evaluate.label_errors import find_label_errors
    from recipes.search.folds import learnable
    from recipes.training.resolving import resolve
    from recipes.training.session import load_images

    settings = resolve(arguments.model, arguments.data, arguments.recipe, arguments.set)
    data = load_images(settings, None, quiet=True)
    pool = learnable(data)
    if arguments.images:
        rows = np.sort(np.random.default_rng(2021).permutation(len(pool))[: arguments.images])
        pool = pool[rows]
    classes, rows = len(data.class_names), {}
    right = out_of_fold(settings, data, pool, arguments.folds, arguments.seed, arguments.out)
    confused = np.zeros((classes, classes))
    np.add.at(confused, (pool.labels, right.argmax(1)), 1)
    np.fill_diagonal(confused, -1)
    print(f"out of fold, with the right labels: {(right.argmax(1) == pool.labels).mean():.1%}", file=sys.stderr)
    for way, likely in {"random": None, "confusion": confused.argmax(1)}.items():
        labels, wrong = changed(pool.labels, classes, SHARE, arguments.seed, likely)
        given = replace(pool, labels=labels)
        scores = out_of_fold(settings, data, given, arguments.folds, arguments.seed, arguments.out)
        rows[way] = judged(find_label_errors(labels, scores).rows, wrong)
        try:
            from cleanlab.filter import find_label_issues
        except ImportError:
            continue
        ranked = find_label_issues(labels, scores, return_indices_ranked_by="normalized_margin", n_jobs=1)
        rows[f"{way}, cleanlab"] = judged(ranked, wrong)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for way, row in rows.items():
        print(f"{way:20} " + "   ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()

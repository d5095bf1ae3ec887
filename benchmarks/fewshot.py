"""Fine-tuning on few images: is the model after both phases ever worse than after the first?

Eight small sets: photographs (stamps of Tux Paint, see photographs.py), emoji (see transfer.py) of all categories, of
nature, of food and of things, and draws of digits and of Fashion-MNIST. Of every set the same images are for testing,
whatever the seed, which draws those to learn from and to validate, the head's first weights and the order of images.

    python benchmarks/fewshot.py --stamps STAMPS --emoji PACKAGE --fashion FOLDER --out runs/fewshot

`head` is the model after the first phase; `before` and `after` are `last-stage` with the settings that it once had
and with those that it has, both from that head. What is compiled serves all seeds and all sets that are named, for
which every head has as many outputs as the largest of them. Rows are kept in `--out`, and what is there is not done
again. With `--choose` a third of what else may be learnt from is scored in place of the test images, and other settings
are looked at, too: so they are chosen.

`--temperatures` looks at the head alone, and at what its few validation images are worth for its temperature: test
images are scored without one, with that of the validation images, which is what `zoo finetune` does, and with one of
scores out of fold, for which the head is trained five times more.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from photographs import photographs
from PIL import Image
from transfer import group_of

EMOJI = {
    "nature": ["animal-mammal", "animal-bird", "animal-marine", "animal-bug", "plant-flower", "plant-other"],
    "food": ["food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet", "drink"],
    "things": ["clothing", "tool", "office", "book-paper", "musical-instrument", "transport-ground", "transport-air"],
}
SETS = ("photographs", "emoji", *EMOJI, "digits", "fashion", "fashion, 6 a class")
TESTED = 0.35  # of the images of a set of files
MOST = 20  # images a class to learn from and to validate with
FOLDS = 5
OFF = {"warmup_steps": 0, "ema": 0.0}
WAYS = {"before": OFF, "after": {}}
PARTS = {
    "warm-up alone": {"ema": 0.0},
    "average alone": {"warmup_steps": 0},
    "lower rate": OFF | {"learning_rate": 3e-4},
}


def rows_of(name, arguments):
    """(file, class, group) of every image of a set, and which are for testing."""
    if name.startswith(("digits", "fashion")):
        return drawn(name.split(",")[0], arguments)
    if name == "photographs":
        rows = photographs(arguments.stamps)
    else:
        every = json.loads((arguments.emoji / "emoji.json").read_text("utf-8"))
        key = "subcategory" if name in EMOJI else "category"
        kept = [one for one in every if one["category"] != "Component" and one[key] in EMOJI.get(name, [one[key]])]
        folder = arguments.emoji / "img" / "google" / "64"
        rows = [(folder / one["image"], one[key], group_of(one)) for one in kept if (folder / one["image"]).is_file()]
    groups = sorted({group for *_, group in rows})
    order = np.random.default_rng(2026).permutation(len(groups))
    tested = {groups[i] for i in order[: round(TESTED * len(groups))]}
    return rows, np.array([group in tested for *_, group in rows])


def drawn(name, arguments):
    """60 images of each class to learn from and 100 to test on, as files."""
    from recipes.data.readers.digits import read_digits
    from recipes.data.readers.idx import IdxReader

    if name == "digits":
        images, labels = read_digits()
    else:
        read = IdxReader(str(arguments.fashion)).read()
        images, labels = read.parts["train"]
    folder, rows = arguments.out / "images" / name, []
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(2026)
    for label in range(10):
        for i in random.permutation(np.flatnonzero(labels == label))[:160]:
            file = folder / f"{i}.png"
            if not file.exists():
                Image.fromarray(images[i, :, :, 0]).convert("RGB").save(file)
            rows.append((file, str(label), str(i)))
    return rows, np.tile(np.arange(160) >= 60, 10)


def table_of(name, seed, arguments):
    """A table of the images that a seed draws of a set."""
    from recipes.data.splits import draw_parts

    rows, tested = rows_of(name, arguments)
    labels = np.array([label for _, label, _ in rows])
    groups = np.array([group for *_, group in rows])
    random = np.random.default_rng(seed)
    pool = np.flatnonzero(~tested)
    test = np.concatenate([np.flatnonzero(tested & (labels == label))[:60] for label in np.unique(labels)])
    if arguments.choose:
        names = random.permutation(np.unique(groups[pool]))
        held = np.isin(groups[pool], names[: len(names) // 3])
        pool, test = pool[~held], pool[held]
    most = 6 if name.endswith("6 a class") else MOST
    kept = [random.permutation(pool[labels[pool] == label])[:most] for label in np.unique(labels)]
    numbers = np.unique(labels, return_inverse=True)[1]
    parts = draw_parts({"train": np.concatenate(kept), "test": test}, numbers, seed=seed, groups=groups)
    file = arguments.out / f"{name}-{seed}.csv"
    with open(file, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("file", "label", "split", "group"))
        writer.writerows((rows[i][0], rows[i][1], part, rows[i][2]) for part, those in parts.items() for i in those)
    return file


def temperature_of(scores, labels):
    """The temperature that probabilities (N, classes) ask for."""
    from recipes.tasks.calibration import fit_temperature

    return fit_temperature(np.log(np.maximum(scores, 1e-38)), labels)


class Trainer:
    """The phases, compiled once."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.outputs = max(len({label for _, label, _ in rows_of(name, arguments)[0]}) for name in arguments.sets)
        self.ways = WAYS | (PARTS if arguments.choose else {})
        self.heads, self.tops, self.frozen, self.tuning = {}, {}, {}, None

    def begin(self, name, seed):
        """The fine-tuning of a seed, in the model of the first one, with a head of its own."""
        import keras

        from recipes.finetune import _begun, _resolve
        from recipes.training.calibration import last_layer
        from recipes.training.session import load_images
        from recipes.transfer.phases import FineTuning
        from recipes.transfer.source import open_source
        from zoo.stages import chained

        table, size = table_of(name, seed, self.arguments), self.arguments.size
        given = {"resize": "fill", "skip_bad": True, "split_near_duplicates": False, "keep_old_classes": False}
        source = open_source("efficientnet_lite0")
        overrides = [f"model.input_shape=[{size},{size},3]", f"seed={seed}"]
        settings = _resolve(source, str(table), overrides, "last-stage", **given)
        images = load_images(settings, None, quiet=True)
        unused = [f"unused {number}" for number in range(len(images.class_names), self.outputs)]
        images = replace(images, class_names=(*images.class_names, *unused))
        if self.tuning is None:
            self.tuning = FineTuning.of(settings, images, _begun(source, settings, images, None))
            self.start = self.tuning.model.get_weights()
            self.scored = chained(*self.tuning.above, self.tuning.parts.classifier)
        self.tuning.model.trainable = True
        self.tuning.model.set_weights(self.start)
        keras.utils.set_random_seed(seed)
        last = last_layer(self.tuning.model)
        last.kernel.assign(last.kernel_initializer(last.kernel.shape))
        self.tuning = replace(self.tuning, recipe=settings, settings=settings.finetune, images=images)
        return self.tuning

    def through(self, which, part, data):
        from recipes.transfer.features import Frozen

        frozen = self.frozen.setdefault(which, None) or Frozen(part(), data.train.images.dtype)
        self.frozen[which] = frozen
        return replace(data, **{name: frozen(split) for name, split in data.parts.items()})

    def trained(self, kept, key, model, recipe, data, run, phase):
        """Trains what was compiled for this key before, from the beginning."""
        from recipes.training.loop import train
        from recipes.training.model import compile_model

        key = (key, recipe.steps_per_epoch(len(data.train)), recipe.batch_of(len(data.train)))
        if key not in kept:
            kept[key] = model()
            compile_model(kept[key], recipe, data)
        for variable in kept[key].optimizer.variables if kept[key].optimizer.built else ():
            variable.assign(np.zeros(variable.shape))
        return train(kept[key], data, recipe, run, quiet=True, phase=phase)

    def rows(self, name, seed, run):
        """Of the head, and of each way, loss and accuracy of the validation and the test images."""
        from recipes.transfer.phases import second_phase, set_batch_norm
        from zoo.stages import chained

        tuning = self.begin(name, seed)
        parts, upper = tuning.parts, tuning.cut.upper
        fresh = parts.classifier.get_weights()
        boundary = self.through("lower", lambda: chained(parts.scaling, tuning.cut.lower), tuning.images)
        features = self.through("upper", lambda: chained(upper, parts.pooling), boundary)
        began = time.perf_counter()
        head = self.trained(self.heads, "head", lambda: chained(parts.classifier), tuning.recipe, features, run, "head")
        if self.arguments.temperatures:
            return self.temperatures(features, fresh, run)
        found = {"head": self.judged(parts.classifier, features, head, began)}
        start, merit = tuning.model.get_weights(), found["head"]["validation loss"]
        for way, changed in self.ways.items():
            tuning.model.trainable = True
            tuning.model.set_weights(start)
            set_batch_norm(upper, trainable=False)
            began = time.perf_counter()
            second = second_phase(
                tuning.recipe, tuning.settings.model_copy(update=changed), len(boundary.train), varies=False
            )
            top = self.trained(
                self.tops, way, lambda: chained(*tuning.above, parts.classifier), second, boundary, run, way
            )
            row = self.judged(self.scored, boundary, top, began)
            kept = row["validation loss"] <= merit
            found[way] = row | {"kept": kept}
            found[f"{way}, the better by validation"] = row if kept else found["head"]
        return found

    def temperatures(self, features, fresh, run):
        """Of each temperature of the trained head, loss and calibration error of the test images."""
        from recipes.search.folds import fold_data, learnable
        from recipes.tasks.calibration import reheated
        from recipes.tasks.metrics import calibration_error, log_loss
        from zoo.stages import chained

        head, pool = self.tuning.parts.classifier, learnable(features)

        def scored(split):
            return np.asarray(head.predict(split.images, verbose=0))

        test, validation = scored(features.test), scored(features.validation)
        apart, fold_of = np.zeros((len(pool), self.outputs)), np.random.default_rng(0).permutation(len(pool)) % FOLDS
        for fold in range(FOLDS):
            held = np.flatnonzero(fold_of == fold)
            head.set_weights(fresh)
            data = fold_data(features, pool, held, fold)
            self.trained(self.heads, "head", lambda: chained(head), self.tuning.recipe, data, run, f"fold{fold}")
            apart[held] = scored(pool[held])
        found = {"none": 1.0}
        for name, split, scores in (("validation", features.validation, validation), ("folds", pool, apart)):
            found[name] = temperature_of(scores, split.labels)
        labels, sizes = features.test.labels, {"learnt from": len(features.train), "validated by": len(validation)}
        return {
            name: {
                "temperature": temperature,
                "test loss": log_loss(labels, reheated(test, temperature)),
                "calibration error": calibration_error(labels, reheated(test, temperature)),
                **sizes,
            }
            for name, temperature in found.items()
        }

    def judged(self, model, data, state, began):
        from recipes.tasks.calibration import reheated
        from recipes.tasks.metrics import log_loss

        row = {
            "seconds": time.perf_counter() - began,
            "loss by epoch": [one["loss"] for one in state.history],
            "best epoch": state.best_epoch,
        }
        used = sum(not name.startswith("unused") for name in data.class_names)
        parts = {part: data.parts[part] for part in ("validation", "test")}
        found = {part: np.asarray(model.predict(split.images, verbose=0))[:, :used] for part, split in parts.items()}
        temperature = temperature_of(found["validation"], parts["validation"].labels)
        for part, scores in found.items():
            labels = parts[part].labels
            row |= {
                f"{part} loss": log_loss(labels, scores),
                f"{part} loss at its temperature": log_loss(labels, reheated(scores, temperature)),
                f"{part} accuracy": float((scores.argmax(1) == labels).mean()),
            }
        return row | {"learnt from": len(data.train), "validated by": len(data.validation)}


HEADING = """\
set, images to learn from; of the head, before, after: test accuracy, then test loss after the temperature; of the
seeds, how many end with a higher test loss than the head, before and after, then with a lower accuracy; the training
loss at the end of the head phase, and the highest of an epoch of the second phase, before and after"""


def table_row(name, found):
    """Of all seeds: mean test accuracies and losses, and how often the end is worse than the head."""
    ends = ("head", *(f"{way}, the better by validation" for way in WAYS))
    text = f"{name:20}{found[0]['head']['learnt from']:5}"
    for key, form in (("test accuracy", "7.1%"), ("test loss at its temperature", "7.3f")):
        text += "  " + "".join(f"{np.mean([row[end][key] for row in found]):>{form}}" for end in ends)
    for key in ("test loss at its temperature", "test accuracy"):
        sign = -1 if key == "test accuracy" else 1
        worse = [sum(sign * (row[end][key] - row["head"][key]) > 1e-9 for row in found) for end in ends[1:]]
        text += f"  {worse[0]:4} {worse[1]:4}"
    jumps = [np.mean([max(row[way]["loss by epoch"]) for row in found]) for way in WAYS]
    return text + f"  {np.mean([row['head']['loss by epoch'][-1] for row in found]):7.2f}{jumps[0]:7.2f}{jumps[1]:7.2f}"


def temperatures_row(name, found):
    """Of all seeds: mean temperatures, losses and calibration errors, and how often a temperature raises the loss."""
    text = f"{name:14}{found[0]['none']['learnt from']:5}{found[0]['none']['validated by']:4}"
    ways = list(found[0])
    for key, form in (("temperature", "7.2f"), ("test loss", "7.3f"), ("calibration error", "7.1%")):
        text += "  " + "".join(f"{np.mean([row[way][key] for row in found]):{form}}" for way in ways)
    higher = [[row[way]["test loss"] - row["none"]["test loss"] for row in found] for way in ways[1:]]
    return text + "  " + "".join(f"{sum(by > 0 for by in rows):4} by {max(max(rows), 0):.3f}" for rows in higher)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), help="of " + "; ".join(SETS))
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--emoji", type=Path, default=Path("package"))
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--temperatures", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/fewshot"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    from recipes.run.folder import Run

    rows, trainer = {}, Trainer(arguments)
    for name in arguments.sets:
        for seed in range(arguments.seeds):
            what = "-choose" * arguments.choose + "-temperatures" * arguments.temperatures
            file = arguments.out / f"{name}-{seed}{what}.json"
            if not file.exists():
                with tempfile.TemporaryDirectory() as folder:
                    found = trainer.rows(name, seed, Run.create(Path(folder) / "run"))
                file.write_text(json.dumps(found))
                print(name, seed, {way: round(row["test loss"], 3) for way, row in found.items()}, file=sys.stderr)
            rows.setdefault(name, []).append(json.loads(file.read_text()))
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    if arguments.temperatures:
        print(
            "set, images to learn from and to validate; without, of the validation images, out of fold: temperature,\n"
            "test loss, calibration error; seeds in which the two raise the loss, and by how much at most"
        )
        print("\n".join(temperatures_row(name, found) for name, found in rows.items()))
        return
    print(HEADING)
    for name, found in rows.items():
        print(table_row(name, found))
        for way in ("head", *WAYS, *PARTS) if arguments.choose else ():
            highest = ", ".join(f"{max(row[way]['loss by epoch'][-1 if way == 'head' else 0 :]):.2f}" for row in found)
            accuracy = ", ".join(f"{row[way]['test accuracy']:.1%}" for row in found)
            loss = ", ".join(f"{row[way]['test loss']:.2f}" for row in found)
            print(f"  {way:14} highest training loss {highest}; accuracy {accuracy}; log loss {loss}")


if __name__ == "__main__":
    main()

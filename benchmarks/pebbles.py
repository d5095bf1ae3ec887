"""What networks for boards reach on digits, with a teacher and without: `python benchmarks/small.py --part boards`.

python benchmarks/pebbles.py    # what they cost, without a training: parameters, flash and arena as int8
"""

import json
import sys
from pathlib import Path
from statistics import median

TEACHER = ("digits-vgg", ["label_smoothing=0"])  # smoothed labels make worse teachers (Müller et al. 2019)


def trained(folder, recipe, **given):
    """The run in a folder, trained or gone on with if it is not finished."""
    from recipes.fit import fit, resume
    from recipes.run.folder import Run

    if not (folder / "recipe.toml").is_file():
        return fit(None, recipe=recipe, data="digits", out=folder, quiet=True, **given).run
    run = Run.open(folder)
    return run if run.is_finished else resume(run, quiet=True).run


def measured(name, seed, runs, *, taught):
    """Of one training: its accuracy on the test images, and that of its int8 file."""
    kept = runs / f"{name}-{seed}{'-taught' if taught else ''}.json"
    if not kept.is_file():
        from recipes.export.handover import export

        recipe, settings = TEACHER
        teachers = [trained(runs / "teacher", recipe, overrides=settings).path] if taught else []
        run = trained(kept.with_suffix(""), name, overrides=[f"seed={seed}"], teachers=teachers)
        limits = {"agreement": 0.0, "drop": 1.0}
        file = runs / f"{kept.stem}.cc"
        result = export(run, to="c-array", out=file, budget=limits, force=True)
        row = {
            "parameters": run.load_model().count_params(),
            "float32": result.accuracy_keras,
            "int8": result.accuracy_file,
            "agreement": result.agreement,
            "bytes": result.bytes,
            "arena": (result.board or {}).get("arena_bytes"),
        }
        kept.write_text(json.dumps(row))
    return json.loads(kept.read_text())


def table(names, seeds, runs):
    """A row a network: medians over the seeds that are there."""
    rows = []
    for name in names:
        row = {"recipe": name}
        for taught in (False, True):
            several = [measured(name, seed, runs, taught=taught) for seed in range(seeds)]
            how = "taught" if taught else "labels alone"
            row |= {
                f"int8, {how}": f"{median(one['int8'] for one in several):.1%}",
                f"float32, {how}": f"{median(one['float32'] for one in several):.1%}",
            }
        last = several[-1]
        row |= {"parameters": f"{last['parameters']:,}", "int8 bytes": f"{last['bytes']:,}"}
        row |= {"arena": f"{last['arena']:,}" if last["arena"] else "", "seeds": seeds}
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def costs(recipe, symmetry):
    """Of the network with its first weights, as an int8 file; its arena is measured in TensorFlow Lite Micro."""
    import numpy as np

    import zoo
    from recipes.config.presets import load_recipe
    from recipes.data import Split
    from recipes.export.kinds.tflite import convert
    from recipes.tflite.graph import read_graph
    from recipes.tflite.micro import MicroFile

    model = load_recipe(recipe).model
    built = zoo.create_model(model.name, symmetry=symmetry, **model.options)
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1), np.uint8)
    content = convert(built, "int8", Split(images, np.arange(32) % 10))
    arena = MicroFile(Path("pebble.tflite"), content, read_graph(content)).arena()
    numbers = (built.count_params(), len(content), arena.total)
    return [recipe, symmetry or "none", *(f"{number:,}" for number in numbers)]


def main():
    print("| recipe | symmetry | parameters | flash, bytes | arena, bytes |\n|---|---|---:|---:|---:|")
    for recipe in ("digits-2k", "digits-5k", "digits-10k", "digits-30k"):
        for symmetry in (None, "c4"):
            print(f"| {' | '.join(costs(recipe, symmetry))} |", flush=True)


if __name__ == "__main__":
    main()

"""Each kind of export for phones and boards of one run: size, accuracy, latency, and which runtimes read it.

    zoo fit lenet5 --data digits --recipe quick --input-shape 32x32x3 --out runs/colour
    python benchmarks/kinds.py runs/colour

LiteRT, TensorFlow Lite Micro and MediaPipe are tried if they are installed. "agree" is on 200 test images, with the
answers that LiteRT gives in Python. Latency is of one image and one thread in LiteRT, all files in turn.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

KINDS = ("float32", "float16", "dynamic", "int4", "int8", "int16x8")
IMAGES = 200


def in_micro(opened, images, expected):
    from recipes.tflite.micro import is_installed
    from zoo.errors import RequestError

    if not is_installed():
        return "not tried"
    try:
        made = opened.as_scores(opened.in_micro(opened.path.name).run(opened.as_input(images)))
    except RequestError as error:
        return f"no: {error}"
    return f"{(made.argmax(1) == expected).mean():.1%} agree"


def in_mediapipe(file, images, expected, names):
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        return "not tried"
    if images.shape[-1] != 3:
        return "not tried: it wants three channels"
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(file)), max_results=1)
    try:
        with vision.ImageClassifier.create_from_options(options) as classifier:
            said = []
            for image in images:
                pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image.copy())
                said.append(names.index(classifier.classify(pixels).classifications[0].categories[0].category_name))
    except (RuntimeError, ValueError) as error:
        return f"no: {str(error).splitlines()[0]}"
    return f"{(said == expected).mean():.1%} agree"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from recipes.export.handover import export
    from recipes.run.folder import Run
    from recipes.tflite.file import TFLiteFile
    from recipes.tflite.latency import benchmark

    run, rows = Run.open(arguments.run), []
    images = run.load_data().test.images[:IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{kind}.tflite") for kind in arguments.kinds]
        for file in files:
            result = export(run, to=file.stem, out=file, budget={"agreement": 0.0, "drop": 1.0})
            opened = TFLiteFile(file)
            expected = opened.predict(images).argmax(1)
            rows.append(
                {
                    "kind": file.stem,
                    "bytes": result.bytes,
                    "accuracy": f"{result.accuracy_file:.1%}",
                    "agreement": f"{result.agreement:.1%}",
                    "TensorFlow Lite Micro": in_micro(opened, images, expected),
                    "MediaPipe": in_mediapipe(file, images, expected, list(run.class_names)),
                }
            )
        for row, timed in zip(rows, benchmark(files, threads=(1,)), strict=True):
            row["LiteRT, ms"] = round(timed.median_ms, 3)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


if __name__ == "__main__":
    main()

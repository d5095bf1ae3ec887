"""What a model costs: building it beside keras.applications, and its int8 file beside LeNet-5's.

python benchmarks/models.py build
python benchmarks/models.py files --max-params 15e6
"""

import argparse
import json
import sys
import time
from statistics import median

import keras
import numpy as np

import zoo
from zoo.catalogue import select


def build(rounds: int) -> dict:
    """`zoo.create_model("vgg16")` and `keras.applications.VGG16(weights=None)`, in turn."""
    makers = {
        "zoo": lambda: zoo.create_model("vgg16"),
        "keras": lambda: keras.applications.VGG16(weights=None),
    }
    seconds = {name: [] for name in makers}
    for number in range(rounds + 1):
        for name, make in makers.items():
            keras.backend.clear_session()
            began = time.perf_counter()
            make()
            if number:
                seconds[name].append(time.perf_counter() - began)
    ratios = sorted(a / b for a, b in zip(seconds["zoo"], seconds["keras"], strict=True))
    return {"ratio_to_keras": median(ratios), "min": ratios[0], "max": ratios[-1]}


def photographs(shape: tuple, count: int = 16):
    """Crops of real photographs, and labels that do not matter."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from recipes.data import Split
    from recipes.data.decoding import to_array

    random, images = np.random.default_rng(0), load_sample_images().images
    crops = []
    for i in range(count):
        image = images[i % len(images)]
        top, left = random.integers(0, image.shape[0] - 256), random.integers(0, image.shape[1] - 256)
        crops.append(to_array(Image.fromarray(image[top : top + 256, left : left + 256]), shape))
    return Split(np.stack(crops), np.arange(count) % 2)


def files(max_params: float, rounds: int) -> list[dict]:
    """Size of every model's int8 file, and latency at batch 1 on one thread as a multiple of LeNet-5's, in turn."""
    from ai_edge_litert.interpreter import Interpreter

    from recipes.export import convert

    def runner(content: bytes, image: np.ndarray):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        return interpreter

    def latency(interpreter, seconds: float = 0.15) -> float:
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            interpreter.invoke()
            count += 1
        return (time.perf_counter() - began) / count

    rows, reference = [], None
    cards = [c for c in select(max_params=max_params, sort="params") if not c.name.startswith("keras_")]
    for card in sorted(cards, key=lambda c: c.name != "lenet5"):
        images = photographs(card.input_shape)
        content = convert(zoo.create_model(card.name), "int8", images)
        interpreter = runner(content, images.images[0])
        reference = reference or interpreter
        ratios = sorted(latency(interpreter) / latency(reference) for _ in range(rounds))
        rows.append(
            {
                "model": card.name,
                "parameters": card.parameters,
                "int8_bytes": len(content),
                "latency_to_lenet5": median(ratios),
                "min": ratios[0],
                "max": ratios[-1],
            }
        )
        print(card.name, file=sys.stderr, flush=True)
        keras.backend.clear_session()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "files"])
    parser.add_argument("--max-params", type=float, default=15e6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "build":
        result = build(arguments.rounds)
        text = f"vgg16: {result['ratio_to_keras']:.2f} of Keras' time ({result['min']:.2f} to {result['max']:.2f})"
    else:
        result = files(arguments.max_params, arguments.rounds)
        text = "\n".join(
            f"{r['model']:20} {r['parameters']:>11,} {r['int8_bytes']:>11,} B  "
            f"{r['latency_to_lenet5']:>8.1f} x lenet5 ({r['min']:.1f} to {r['max']:.1f})"
            for r in result
        )
    print(json.dumps(result, indent=1) if arguments.json else text)


if __name__ == "__main__":
    main()

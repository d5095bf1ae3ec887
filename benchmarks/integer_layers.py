"""The layers of a model trained for integers one by one, each given what its int8 file has before it.

    python benchmarks/integer_layers.py runs/integers/resnet8-int8 --images 200

prints for each kind of operation how many values there are, and how many of the model's are not the file's integers:
a layer that differs by itself is at fault, one that differs in the whole network may only pass on what came before.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def integers_in_file(content, images):
    """The graph, and the output of each of its operations, by the number of its tensor: (N, ...) int8.

    All are outputs of the file that is run, so that XNNPACK computes what it usually does.
    """
    from ai_edge_litert.interpreter import Interpreter

    from recipes.tflite.graph import read_graph
    from recipes.tflite.writing import packed, unpacked

    graph, model = read_graph(content), unpacked(content)
    made = [operator.outputs[0] for operator in graph.operators]
    model.subgraphs[0].outputs, model.signatureDefs = made, None
    interpreter = Interpreter(model_content=packed(model))
    interpreter.allocate_tensors()
    found = {tensor: [] for tensor in made}
    for image in images:
        interpreter.set_tensor(graph.inputs[0], image[None])
        interpreter.invoke()
        for tensor, values in found.items():
            values.append(interpreter.get_tensor(tensor))
    return graph, {tensor: np.stack(values) for tensor, values in found.items()}


def computed(model, inputs, replaced):
    """The output of a model whose rounded values are given to `replaced` with their range, which gives others."""
    from zoo.backend import keras
    from zoo.keras_internals import nodes
    from zoo.layers.quantized import FakeQuantize, QuantizedConcatenate

    known = {id(tensor): values for tensor, values in zip(model.inputs, inputs, strict=True)}
    for node in nodes(model):
        if node.is_input:
            continue
        layer, given = node.operation, (node.arguments.args, node.arguments.kwargs)
        args, kwargs = keras.tree.map_structure(lambda x: known.get(id(x), x), given)
        if isinstance(layer, keras.Model):
            made = computed(layer, keras.tree.flatten(args), replaced)
        else:
            made = layer(*args, **kwargs)
        if isinstance(layer, FakeQuantize | QuantizedConcatenate):
            made = replaced(getattr(layer, "range", layer), made)
        known.update(zip(map(id, node.output_tensors), keras.tree.flatten(made), strict=True))
    return known[id(model.outputs[0])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="by `zoo finetune --recipe qat`")
    parser.add_argument("--images", type=int, default=200, help="of the test set")
    arguments = parser.parse_args()

    from recipes.export import convert
    from recipes.run.folder import Run
    from zoo.layers.quantized import scale_and_zero
    from zoo.ranges import settle

    run = Run.open(arguments.run)
    model, data = run.load_model(), run.load_data()
    settle(model)
    images = np.asarray(data.test.images[: arguments.images])
    graph, values = integers_in_file(convert(model, "int8", data.train), images)
    waiting = [one for one in graph.operators[:-1] if one.kind != "RESHAPE"]  # the last makes uint8 of the scores
    skipped, counts, wrong = [], Counter(), Counter()

    def replaced(range_, ours):
        scale, zero = (float(value) for value in scale_and_zero(*(range_.fixed or (range_.low, range_.high))))

        def makes(operator):
            tensor = graph.tensors[operator.outputs[0]]
            same = np.isclose(tensor.scales[0], scale, 1e-5) and tensor.zero_points[0] == round(zero)
            return same and values[operator.outputs[0]].size == np.size(ours)

        place = next((place for place, operator in enumerate(waiting) if makes(operator)), None)
        if place is None:
            return ours  # an operation that does nothing, which the converter left out
        skipped.extend(waiting[:place])  # what only moves values, or is joined
        operator = waiting[place]
        del waiting[: place + 1]
        theirs = values[operator.outputs[0]].reshape(ours.shape).astype(np.float32) - np.float32(zero)
        counts[operator.kind] += theirs.size
        wrong[operator.kind] += int((np.round(np.array(ours) / scale) != theirs).sum())
        return theirs * np.float32(scale)

    computed(model, [images.astype(np.float32)], replaced)
    print("| operation | values | not the file's |\n|---|---:|---:|")
    for kind, count in counts.items():
        print(f"| `{kind}` | {count:,} | {wrong[kind]:,} |")
    if others := Counter(operator.kind for operator in skipped + waiting):
        print(f"not compared: {', '.join(f'{count} {kind}' for kind, count in others.items())}")


if __name__ == "__main__":
    main()

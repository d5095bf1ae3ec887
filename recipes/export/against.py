"""A file and the run that it was exported from, layer by layer."""

from pathlib import Path

from recipes.export.kinds.tflite import float_twin
from recipes.export.layers import LayerError, errors_by_layer
from recipes.export.source import open_export_source
from recipes.tflite.file import TFLiteFile
from zoo.errors import RequestError
from zoo.ranges import is_quantized

_TRACED = 32  # test images


def compare_layers(file: Path, run: Path) -> list[LayerError]:
    """The error after each operation of a file that was exported from a run, on some of the run's test images.

    Raises:
        RequestError: the run has another model than the file, or one that computes as an int8 file does already.
    """
    opened, source = TFLiteFile(file), open_export_source(run)
    if opened.input_shape != source.image_shape:
        shapes = ("x".join(map(str, shape)) for shape in (opened.input_shape, source.image_shape))
        raise RequestError(f"{file} takes images of {next(shapes)}, the model of {run} of {next(shapes)}.")
    if is_quantized(source.model):
        raise RequestError(f"{run} computes as its int8 file does; allowed: the run that it was made from.")
    with float_twin(source) as twin:
        found = errors_by_layer(Path(file), twin, source.data.test.images[:_TRACED])
    if 2 * len(found) < len(opened.graph.operators):
        raise RequestError(f"{file} has other layers than {run}: it was not exported from it.")
    return found

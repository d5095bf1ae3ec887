"""ONNX, for servers and other frameworks."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.export.kinds.base import FLOAT_BUDGET, ExportKind, ExportOptions, RunResult

if TYPE_CHECKING:
    from recipes.export.source import ExportSource


class Onnx(ExportKind):
    """ONNX for one image (1, H, W, C) float32."""

    name = "onnx"
    summary = "ONNX"
    ending = ".onnx"
    budget = FLOAT_BUDGET
    runner = "onnxruntime"
    extra = "onnx"
    modules = ("tf2onnx", "onnx", "onnxruntime")

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        from recipes.export.conversion import export_with_keras, image_signature

        signature = image_signature((1, *source.image_shape))
        export_with_keras(source.float32_model, file, self.name, format="onnx", input_signature=signature)

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        import numpy as np
        import onnx
        import onnxruntime

        operators = Counter(node.op_type for node in onnx.load(str(file)).graph.node)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0].name
        scores = [session.run(None, {given: image[None].astype(np.float32)})[0][0] for image in source.data.test.images]
        return RunResult(np.stack(scores), dict(sorted(operators.items())))

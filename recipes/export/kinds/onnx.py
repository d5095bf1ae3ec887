"""ONNX, for servers and other frameworks."""

import json
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
        self._describe(source, file)

    def _describe(self, source: "ExportSource", file: Path) -> None:
        """Puts labels, and what else is to be known of the file, into its metadata."""
        import onnx

        from recipes.data.names import to_lines
        from recipes.tflite.file import FACTS, LABELS
        from zoo.groups import symmetry_of

        group = symmetry_of(source.model)
        facts = {
            "model": source.name,
            "kind": self.name,
            "task": source.task,
            "resize": source.resize,
            "image_shape": list(source.image_shape),
            **({"symmetry": group, "symmetric_to": self.symmetric_to} if group else {}),
            **source.answers,
            "run": source.digest,
            "versions": dict(source.versions),
        }
        model = onnx.load(str(file))
        onnx.helper.set_model_props(
            model, {LABELS: to_lines(source.class_names), FACTS: json.dumps(facts, ensure_ascii=False)}
        )
        onnx.save(model, str(file))

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        import onnx

        from recipes.scorers.onnx import OnnxScorer

        operators = Counter(node.op_type for node in onnx.load(str(file)).graph.node)
        scores = OnnxScorer(file, isolated=False).scores(source.data.test.images)
        return RunResult(scores, dict(sorted(operators.items())))

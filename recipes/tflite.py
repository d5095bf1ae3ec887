"""A `.tflite` file as it is used: opened, run and read without TensorFlow."""

import io
import json
import re
import zipfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recipes.quiet import native_output_hidden
from zoo.errors import RequestError

LABELS, FACTS = "labels.txt", "convzoo.json"
_ATTACHED = re.compile(rb"PK\x03\x04.{26}" + re.escape(LABELS.encode()), re.DOTALL)  # how `attach` begins


class TFLiteFile:
    """A model file, ready to run.

    Attributes:
        input_shape: (H, W, C) of one picture.
        labels: class names, empty if the file carries none.
        facts: what export wrote about the file: `resize`, `model`, and so on; empty if it is not ours.
        operators: how often each operation occurs.

    Raises:
        RequestError: the file is missing, empty, truncated, or not TFLite.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise RequestError(f"{self.path} {'is a folder' if self.path.is_dir() else 'does not exist'}.")
        content = self.path.read_bytes()
        if content[4:8] != b"TFL3":
            raise RequestError(f"{self.path} {'is not a TFLite file' if content else 'is empty'}.")
        self.labels, self.facts = self._read_attached(content)
        try:
            self.operators = count_operators(content)
            from ai_edge_litert.interpreter import Interpreter

            with native_output_hidden():
                self._interpreter = Interpreter(model_content=content)
                self._interpreter.allocate_tensors()
        except Exception as error:  # the parser meets nonsense offsets in many ways
            raise RequestError(f"{self.path} is truncated or damaged.") from error
        self._input, self._output = (
            self._interpreter.get_input_details()[0],
            self._interpreter.get_output_details()[0],
        )
        self.input_shape: tuple[int, int, int] = tuple(int(n) for n in self._input["shape"][1:])

    def _read_attached(self, content: bytes) -> tuple[tuple[str, ...], dict[str, Any]]:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as attached:
                names = attached.namelist()
                labels = attached.read(LABELS).decode("utf-8").splitlines() if LABELS in names else []
                facts = json.loads(attached.read(FACTS)) if FACTS in names else {}
                start = attached.infolist()[0].header_offset if names else len(content)
        except zipfile.BadZipFile:
            labels, facts, start = [], {}, len(content)
            if _ATTACHED.search(content):
                raise RequestError(f"{self.path} is truncated: what is attached to it is cut off.") from None
        if "sha256" in facts and facts["sha256"] != sha256(content[:start]).hexdigest():
            raise RequestError(f"{self.path} is damaged: its content does not match its own digest.")
        return tuple(labels), facts

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores float32 (N, classes) of pictures uint8 (N, H, W, C), one at a time as an app would."""
        with native_output_hidden():
            return np.stack([self._predict_one(image) for image in images])

    def _predict_one(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input["index"], _quantised(image[None], self._input))
        self._interpreter.invoke()
        return _real(self._interpreter.get_tensor(self._output["index"])[0], self._output)


def _quantised(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return (values / scale + zero_point).round().clip(limits.min, limits.max).astype(tensor["dtype"])


def _real(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * scale


def count_operators(content: bytes) -> dict[str, int]:
    """Operations of a TFLite flatbuffer by name, with how often each is used; custom ones by their own name."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    kinds = [
        code.CustomCode().decode()
        if code.CustomCode()
        else names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        for code in codes
    ]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    used = (kinds[graph.Operators(i).OpcodeIndex()] for graph in graphs for i in range(graph.OperatorsLength()))
    return dict(sorted(Counter(used).items()))


def custom_operators(content: bytes) -> list[str]:
    """Operations that only a runtime with extra kernels could run; Flex (TensorFlow) operations are among them."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return sorted(code.CustomCode().decode() for code in codes if code.CustomCode())


def attach(content: bytes, labels: tuple[str, ...], facts: dict[str, Any]) -> bytes:
    """The file with labels, facts and its digest inside: a zip archive behind the flatbuffer, TFLite's own way."""
    facts = facts | {"sha256": sha256(content).hexdigest()}
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in ((LABELS, "\n".join(labels) + "\n"), (FACTS, json.dumps(facts, indent=1) + "\n")):
            # A fixed date: the same run exports to the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return whole.getvalue()

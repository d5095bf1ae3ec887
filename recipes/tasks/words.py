"""What a task calls its metrics, for people."""

from collections.abc import Mapping
from typing import Any


def summary(metrics: Mapping[str, Any]) -> str:
    """The figures that matter most, in a few words."""
    match metrics.get("task", "classification"):
        case "multilabel":
            return f"mAP {metrics['map']:.2%}, F1 {metrics['f1']:.2%}, all classes right {metrics['exact']:.2%}"
        case "regression":
            known = "" if metrics["r2"] is None else f", R² {metrics['r2']:.4f}"
            return f"mean error {metrics['mae']:.4g}, squared {metrics['mse']:.4g}{known}"
    return f"accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}"

"""What the model computes, and where it looks."""

from html import escape

import numpy as np

from recipes.evaluate.inside import class_maps, feature_maps, first_kernels
from recipes.report import charts
from recipes.report.sections.contents import Page

LOOKED_AT = 8  # images with a saliency map


def inside(page: Page) -> str:
    """First kernels, and the feature maps of one image."""
    kernels = first_kernels(page.model)
    right = page.data.test.images[page.mistakes[0]["index"] if page.mistakes else 0]
    parts = []
    if kernels is not None:
        shown = (charts.image(kernel, f"Kernel {i + 1}") for i, kernel in enumerate(kernels))
        parts.append("<h3>Kernels of the first convolution</h3><p class='quiet'>Grey is zero.</p>")
        parts.append(charts.gallery(shown, kind="small"))
    stages = feature_maps(page.model, right)
    if stages:
        parts.append("<h3>Feature maps of one image</h3>" + charts.gallery([charts.image(right, "The image")]))
    for stage in stages:
        height, width = stage.maps.shape[1:]
        kept = f"{len(stage.maps)} of {stage.channels}" if len(stage.maps) < stage.channels else f"{stage.channels}"
        shown = (charts.image(m, f"Feature map {i + 1} of {stage.layer}") for i, m in enumerate(stage.maps))
        parts.append(f"<p>{escape(stage.layer)}: {kept} maps of {height}x{width}</p>")
        parts.append(charts.gallery(shown, kind="small"))
    return "".join(parts) or f"<p>{escape(page.recipe.model.name)} has neither convolutions nor feature maps.</p>"


def saliency(page: Page) -> str:
    """Where the model looked (Grad-CAM and LayerCAM)."""
    if not page.data.label_kind.single_label:
        return ""
    test = page.data.test
    rows = [m["index"] for m in page.mistakes[: LOOKED_AT // 2]]
    others = page.data.label_kind.in_turn(test.labels, LOOKED_AT)
    rows += [int(row) for row in others if row not in rows][: LOOKED_AT - len(rows)]
    images = np.asarray(test.images[rows])
    predicted = page.model.predict(images, verbose=0).argmax(1)
    cams = class_maps(page.model, images, predicted)
    if cams is None:
        return "<p>The model has no feature map of at least 4x4 to tell where it looked.</p>"
    shown = []
    for image, strength, detail, predicted_class, row in zip(images, *cams, predicted, rows, strict=True):
        name = page.label(predicted_class)
        caption = f"{page.label(test.labels[row])}, taken for {name}"
        shown.append(charts.image(image, f"Test image of class {caption}", caption))
        for words, bright in (("Grad-CAM", strength), ("LayerCAM", detail)):
            shown.append(charts.image(charts.heat(image, bright), f"What spoke for {name}, {words}", words))
    about = (
        "Bright is what spoke for the predicted class: by the mean gradient of each feature map (Grad-CAM), and place "
        "by place (LayerCAM). A map says where, not why; it is not evidence that the class is right."
    )
    return f"<p>{about}</p>{charts.gallery(shown)}"

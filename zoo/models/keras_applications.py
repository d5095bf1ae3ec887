"""Every model of `keras.applications`, under its name with `keras_` before it.

The rows below are what Keras builds with `include_top=True, weights=None`; a test holds them against it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.backend import keras
from zoo.normalization import quicken_statistics
from zoo.registry import CAFFE, IDENTITY, IMAGENET, PLUS_MINUS_ONE, Paper, Scaling, Tensor, Weights, register

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Row:
    """What differs within a line of models: name, class in `keras.applications`, image size, parameters (all, and
    those that are trained), the head that Keras puts on it, and of its weights the licence, if that is not its line's,
    and the images they have seen, if more than ImageNet-1k."""

    name: str
    keras_name: str
    size: int
    parameters: int
    trainable_parameters: int
    dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    licence: "Licence | None" = None
    trained_on: str = ""


@dataclass(frozen=True)
class Licence:
    """The licence of published weights, and who states it where."""

    name: str
    source: str


KERAS_PAGE = (
    "Keras' page on its applications, section License (keras-team/keras, docs/templates/applications.md, at 034466bb)"
)


def _by_keras(name: str, said: str) -> Licence:
    return Licence(name, f"{KERAS_PAGE}: {said}.")


# What that page says; of the networks that it does not name, nobody was found to state a licence of these weights.
FROM_OXFORD = _by_keras("CC-BY-4.0", "ported from those that VGG at Oxford released under Creative Commons Attribution")
FROM_HE = _by_keras("MIT", "ported from those that Kaiming He released under the MIT licence")
FROM_CHOLLET = _by_keras("MIT", "trained by Keras' authors and released under the MIT licence")
FROM_TENSORFLOW = _by_keras("Apache-2.0", "released under the Apache licence (of tensorflow/models)")
FROM_HUANG = _by_keras("BSD-3-Clause", "released under the BSD 3-clause licence (of liuzhuang13/DenseNet)")
FROM_META = Licence(
    "MIT",
    "Keras assembled them from those of facebookresearch/ConvNeXt (keras/src/applications/convnext.py), whose README "
    "(at 048efcea) releases that project under the MIT licence.",
)
NOT_STATED = Licence(
    "not stated",
    f"{KERAS_PAGE} names others and not these, the page at keras.io no longer states licences, and neither does Keras' "
    "source. Keras itself is under Apache-2.0, which need not hold for weights that others trained.",
)


@dataclass(frozen=True)
class Line:
    """What the models of one paper share."""

    family: str
    paper: Paper
    scaling: Scaling
    rows: tuple[Row, ...]
    notes: str = ""
    pooling: str = "average"
    hidden_nonlinearity: str = "relu"
    licence: "Licence | None" = None
    arrange: "Callable[[list[np.ndarray]], list[np.ndarray]] | None" = None


def _with_second_rescaling(arrays: "list[np.ndarray]") -> "list[np.ndarray]":
    """The arrays of Keras' EfficientNet, for which it adds a layer to the architecture if they are ImageNet's.

    That layer divides by the square root of the deviation once more, which is what they were trained with; here it goes
    into the variance (the second array) of the normalisation before it.
    """
    mean, variance, *others = arrays
    return [mean, variance * (0.229, 0.224, 0.225), *others]


IMAGENET_21K = "ImageNet-21k first, then fine-tuned on ImageNet-1k (keras/src/applications/convnext.py)"
INSIDE = "The architecture rescales pixels itself, so nothing is done to them before. "

LINES = (
    Line(
        "vgg",
        Paper(
            "Very deep convolutional networks for large-scale image recognition",
            "Simonyan, Zisserman",
            2015,
            "https://arxiv.org/abs/1409.1556",
        ),
        CAFFE,
        (
            Row("vgg16", "VGG16", 224, 138_357_544, 138_357_544, hidden=(4096, 4096)),
            Row("vgg19", "VGG19", 224, 143_667_240, 143_667_240, hidden=(4096, 4096)),
        ),
        pooling="flatten",
        licence=FROM_OXFORD,
    ),
    Line(
        "inception",
        Paper(
            "Rethinking the inception architecture for computer vision",
            "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna",
            2016,
            "https://arxiv.org/abs/1512.00567",
        ),
        PLUS_MINUS_ONE,
        (Row("inception_v3", "InceptionV3", 299, 23_851_784, 23_817_352),),
        licence=FROM_TENSORFLOW,
    ),
    Line(
        "inception",
        Paper(
            "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
            "Szegedy, Ioffe, Vanhoucke, Alemi",
            2017,
            "https://arxiv.org/abs/1602.07261",
        ),
        PLUS_MINUS_ONE,
        (Row("inception_resnet_v2", "InceptionResNetV2", 299, 55_873_736, 55_813_192),),
        licence=FROM_TENSORFLOW,
    ),
    Line(
        "resnet",
        Paper(
            "Deep residual learning for image recognition",
            "He, Zhang, Ren, Sun",
            2016,
            "https://arxiv.org/abs/1512.03385",
        ),
        CAFFE,
        (
            Row("resnet50", "ResNet50", 224, 25_636_712, 25_583_592, licence=FROM_HE),
            Row("resnet101", "ResNet101", 224, 44_707_176, 44_601_832),
            Row("resnet152", "ResNet152", 224, 60_419_944, 60_268_520),
        ),
    ),
    Line(
        "resnet",
        Paper(
            "Identity mappings in deep residual networks",
            "He, Zhang, Ren, Sun",
            2016,
            "https://arxiv.org/abs/1603.05027",
        ),
        PLUS_MINUS_ONE,
        (
            Row("resnet50_v2", "ResNet50V2", 224, 25_613_800, 25_568_360),
            Row("resnet101_v2", "ResNet101V2", 224, 44_675_560, 44_577_896),
            Row("resnet152_v2", "ResNet152V2", 224, 60_380_648, 60_236_904),
        ),
    ),
    Line(
        "xception",
        Paper(
            "Xception: deep learning with depthwise separable convolutions",
            "Chollet",
            2017,
            "https://arxiv.org/abs/1610.02357",
        ),
        PLUS_MINUS_ONE,
        (Row("xception", "Xception", 299, 22_910_480, 22_855_952),),
        licence=FROM_CHOLLET,
    ),
    Line(
        "densenet",
        Paper(
            "Densely connected convolutional networks",
            "Huang, Liu, van der Maaten, Weinberger",
            2017,
            "https://arxiv.org/abs/1608.06993",
        ),
        IMAGENET,
        (
            Row("densenet121", "DenseNet121", 224, 8_062_504, 7_978_856),
            Row("densenet169", "DenseNet169", 224, 14_307_880, 14_149_480),
            Row("densenet201", "DenseNet201", 224, 20_242_984, 20_013_928),
        ),
        licence=FROM_HUANG,
    ),
    Line(
        "nasnet",
        Paper(
            "Learning transferable architectures for scalable image recognition",
            "Zoph, Vasudevan, Shlens, Le",
            2018,
            "https://arxiv.org/abs/1707.07012",
        ),
        PLUS_MINUS_ONE,
        (
            Row("nasnet_mobile", "NASNetMobile", 224, 5_326_716, 5_289_978),
            Row("nasnet_large", "NASNetLarge", 331, 88_949_818, 88_753_150),
        ),
        notes="The image size must be known: padding depends on whether it is even.",
        licence=FROM_TENSORFLOW,
    ),
    Line(
        "mobilenet",
        Paper(
            "MobileNets: efficient convolutional neural networks for mobile vision applications",
            "Howard and others",
            2017,
            "https://arxiv.org/abs/1704.04861",
        ),
        PLUS_MINUS_ONE,
        (Row("mobilenet", "MobileNet", 224, 4_253_864, 4_231_976, dropout=0.001),),
        licence=FROM_TENSORFLOW,
    ),
    Line(
        "mobilenet",
        Paper(
            "MobileNetV2: inverted residuals and linear bottlenecks",
            "Sandler, Howard, Zhu, Zhmoginov, Chen",
            2018,
            "https://arxiv.org/abs/1801.04381",
        ),
        PLUS_MINUS_ONE,
        (Row("mobilenet_v2", "MobileNetV2", 224, 3_538_984, 3_504_872),),
        licence=FROM_TENSORFLOW,
    ),
    Line(
        "mobilenet",
        Paper("Searching for MobileNetV3", "Howard and others", 2019, "https://arxiv.org/abs/1905.02244"),
        IDENTITY,
        (
            Row("mobilenet_v3_small", "MobileNetV3Small", 224, 2_554_968, 2_542_856, 0.2, (1024,)),
            Row("mobilenet_v3_large", "MobileNetV3Large", 224, 5_507_432, 5_483_032, 0.2, (1280,)),
        ),
        notes=INSIDE + "The head's dropout stands before each fully connected layer, Keras' before the last only.",
        hidden_nonlinearity="hard_silu",
    ),
    Line(
        "efficientnet",
        Paper(
            "EfficientNet: rethinking model scaling for convolutional neural networks",
            "Tan, Le",
            2019,
            "https://arxiv.org/abs/1905.11946",
        ),
        IDENTITY,
        (
            Row("efficientnet_b0", "EfficientNetB0", 224, 5_330_571, 5_288_548, 0.2),
            Row("efficientnet_b1", "EfficientNetB1", 240, 7_856_239, 7_794_184, 0.2),
            Row("efficientnet_b2", "EfficientNetB2", 260, 9_177_569, 9_109_994, 0.3),
            Row("efficientnet_b3", "EfficientNetB3", 300, 12_320_535, 12_233_232, 0.3),
            Row("efficientnet_b4", "EfficientNetB4", 380, 19_466_823, 19_341_616, 0.4),
            Row("efficientnet_b5", "EfficientNetB5", 456, 30_562_527, 30_389_784, 0.4),
            Row("efficientnet_b6", "EfficientNetB6", 528, 43_265_143, 43_040_704, 0.5),
            Row("efficientnet_b7", "EfficientNetB7", 600, 66_658_687, 66_347_960, 0.5),
        ),
        notes=INSIDE + "Among the parameters are 7 of that rescaling (mean, variance and count of Normalization).",
        arrange=_with_second_rescaling,
    ),
    Line(
        "efficientnet_v2",
        Paper(
            "EfficientNetV2: smaller models and faster training", "Tan, Le", 2021, "https://arxiv.org/abs/2104.00298"
        ),
        IDENTITY,
        (
            Row("efficientnet_v2_b0", "EfficientNetV2B0", 224, 7_200_312, 7_139_704, 0.2),
            Row("efficientnet_v2_b1", "EfficientNetV2B1", 240, 8_212_124, 8_141_052, 0.2),
            Row("efficientnet_v2_b2", "EfficientNetV2B2", 260, 10_178_374, 10_096_086, 0.2),
            Row("efficientnet_v2_b3", "EfficientNetV2B3", 300, 14_467_622, 14_358_406, 0.2),
            Row("efficientnet_v2_s", "EfficientNetV2S", 384, 21_612_360, 21_458_488, 0.2),
            Row("efficientnet_v2_m", "EfficientNetV2M", 480, 54_431_388, 54_139_356, 0.2),
            Row("efficientnet_v2_l", "EfficientNetV2L", 480, 119_027_848, 118_515_272, 0.2),
        ),
        notes=INSIDE,
    ),
    Line(
        "convnext",
        Paper(
            "A ConvNet for the 2020s",
            "Liu, Mao, Wu, Feichtenhofer, Darrell, Xie",
            2022,
            "https://arxiv.org/abs/2201.03545",
        ),
        IDENTITY,
        (
            Row("convnext_tiny", "ConvNeXtTiny", 224, 28_589_128, 28_589_128),
            Row("convnext_small", "ConvNeXtSmall", 224, 50_223_688, 50_223_688),
            Row("convnext_base", "ConvNeXtBase", 224, 88_591_464, 88_591_464, trained_on=IMAGENET_21K),
            Row("convnext_large", "ConvNeXtLarge", 224, 197_767_336, 197_767_336, trained_on=IMAGENET_21K),
            Row("convnext_xlarge", "ConvNeXtXLarge", 224, 350_196_968, 350_196_968, trained_on=IMAGENET_21K),
        ),
        notes=INSIDE + "Layer normalisation ends the backbone, before pooling; with Keras' top it comes after pooling.",
        licence=FROM_META,
    ),
)


def _register(line: Line, row: Row) -> None:
    def build(x: Tensor) -> Tensor:
        if line.family == "convnext" and x.shape[-1] != 3:
            # Keras leaves out its own rescaling for these.
            x = keras.layers.Rescaling(1 / 255 / 0.226, -0.449 / 0.226, name="grey_rescaling")(x)
        model = getattr(keras.applications, row.keras_name)(
            include_top=False, weights=None, input_tensor=x, input_shape=tuple(x.shape[1:])
        )
        quicken_statistics(model)
        return model.output

    licence = row.licence or line.licence or NOT_STATED
    build.__name__ = f"keras_{row.name}"
    build.__doc__ = f"{row.keras_name} as keras.applications builds it."
    register(
        family=line.family,
        paper=line.paper,
        input_shape=(row.size, row.size, 3),
        classes=1000,
        parameters=row.parameters,
        trainable_parameters=row.trainable_parameters,
        pooling=line.pooling,
        hidden=row.hidden,
        hidden_nonlinearity=line.hidden_nonlinearity,
        dropout=row.dropout,
        scaling=line.scaling,
        notes=f"{line.notes.strip()} BatchNorm momentum is at most 0.9.".strip()
        if row.parameters != row.trainable_parameters
        else line.notes.strip(),
        weights=(
            Weights(
                "imagenet",
                licence.name,
                f"keras:{row.keras_name}",
                arrange=line.arrange,
                licence_source=licence.source,
                trained_on=row.trained_on,
            ),
        ),
    )(build)


for _line in LINES:
    for _row in _line.rows:
        _register(_line, _row)

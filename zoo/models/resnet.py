"""ResNet: what a stage learns is added to what it was given."""

from collections.abc import Callable
from functools import partial

from zoo.backend import keras
from zoo.normalization import batch_norm
from zoo.registry import CAFFE, IMAGENET, PLUS_MINUS_ONE, Nonlinearity, Paper, Scaling, Tensor, register

PAPER = Paper(
    title="Deep residual learning for image recognition",
    authors="He, Zhang, Ren, Sun",
    year=2016,
    url="https://arxiv.org/abs/1512.03385",
)
Decorator = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


def conv(x: Tensor, filters: int, size: int, name: str, strides: int = 1, bias: bool = False) -> Tensor:
    """A "same" convolution (B, H, W, C) to (B, H / strides, W / strides, filters)."""
    return keras.layers.Conv2D(
        filters, size, strides, padding="same", use_bias=bias, kernel_initializer="he_normal", name=name
    )(x)


def activate(x: Tensor, nonlinearity: str, name: str) -> Tensor:
    return keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(x)


def add(x: Tensor, shortcut: Tensor, nonlinearity: str, name: str) -> Tensor:
    return activate(keras.layers.Add(name=f"{name}_add")([x, shortcut]), nonlinearity, name)


def basic(
    x: Tensor,
    filters: int,
    nonlinearity: str,
    name: str,
    strides: int = 1,
    *,
    bias: bool = False,
    epsilon: float = 1e-5,
) -> Tensor:
    """Two 3x3 convolutions, without the shortcut (figure 5, left)."""
    x = batch_norm(conv(x, filters, 3, f"{name}_conv1", strides, bias), f"{name}_bn1", epsilon)
    x = activate(x, nonlinearity, f"{name}_1")
    return batch_norm(conv(x, filters, 3, f"{name}_conv2", bias=bias), f"{name}_bn2", epsilon)


# ---- CIFAR-10, section 4.2 -------------------------------------------------------------------------------------

_cifar: Callable[..., Decorator] = partial(
    register,
    family="resnet",
    subsamples=True,
    paper=PAPER,
    input_shape=(32, 32, 3),
    pooling="average",
    scaling=PLUS_MINUS_ONE,
    notes="Shortcuts are option A: where the size halves, every other pixel, and zeros for the new channels; no "
    "weights. The paper's rounded count is of trainable_parameters. It subtracts the mean image; here pixels become "
    "-1 to 1.",
)


def cifar(x: Tensor, n: int, nonlinearity: str) -> Tensor:
    """6n + 1 convolutions in three stages of 16, 32 and 64 maps: (B, H, W, C) to (B, H / 4, W / 4, 64)."""
    x = activate(batch_norm(conv(x, 16, 3, "stem"), "stem_bn", epsilon=1e-5), nonlinearity, "stem")
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, n + 1):
            name = f"stage{stage}_block{block}"
            shrinks = stage > 1 and block == 1
            shortcut = zero_padded(x, filters, name) if shrinks else x
            x = add(basic(x, filters, nonlinearity, name, 2 if shrinks else 1), shortcut, nonlinearity, name)
    return x


def zero_padded(x: Tensor, filters: int, name: str) -> Tensor:
    """Every other pixel, and maps of zeros up to `filters`, half of them before (section 3.3, option A)."""
    x = keras.layers.MaxPooling2D(1, 2, name=f"{name}_every_other", padding="same")(x)
    missing = filters - x.shape[-1]
    return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


@_cifar(parameters=271_098, trainable_parameters=269_722)
def resnet20(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of three residual blocks, for 32x32 (section 4.2, n = 3)."""
    return cifar(x, 3, nonlinearity)


@_cifar(parameters=466_426, trainable_parameters=464_154)
def resnet32(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of five residual blocks, for 32x32 (section 4.2, n = 5)."""
    return cifar(x, 5, nonlinearity)


@_cifar(parameters=661_754, trainable_parameters=658_586)
def resnet44(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of seven residual blocks, for 32x32 (section 4.2, n = 7)."""
    return cifar(x, 7, nonlinearity)


@_cifar(parameters=857_082, trainable_parameters=853_018)
def resnet56(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of nine residual blocks, for 32x32 (section 4.2, n = 9)."""
    return cifar(x, 9, nonlinearity)


@_cifar(parameters=1_736_058, trainable_parameters=1_727_962)
def resnet110(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of eighteen residual blocks, for 32x32 (section 4.2, n = 18)."""
    return cifar(x, 18, nonlinearity)


@register(
    family="resnet",
    subsamples=True,
    paper=Paper(
        title="MLPerf Tiny benchmark",
        authors="Banbury and others",
        year=2021,
        url="https://arxiv.org/abs/2106.07597",
    ),
    input_shape=(32, 32, 3),
    parameters=78_666,
    trainable_parameters=78_186,
    pooling="average",
    scaling=Scaling(1.0),
    notes="78,666, the benchmark's number, counts BatchNorm statistics. Convolutions have biases, shortcuts are 1x1 "
    "convolutions without BatchNorm, whose epsilon is 1e-3 everywhere: as in the reference (mlcommons/tiny, "
    "benchmark/training/image_classification/keras_model.py, at 5872274e), which feeds pixels 0-255 unscaled, and "
    "whose L2 decay of 1e-4 is the recipe's here, not the model's (optimizer.l2).",
)
def resnet8(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three stages of one residual block: image classification in MLPerf Tiny (section 4.1)."""
    x = activate(batch_norm(conv(x, 16, 3, "stem", bias=True), "stem_bn"), nonlinearity, "stem")
    for stage, filters in enumerate((16, 32, 64), start=1):
        name, strides = f"stage{stage}", 1 if stage == 1 else 2
        shortcut = x if stage == 1 else conv(x, filters, 1, f"{name}_shortcut", strides, bias=True)
        learned = basic(x, filters, nonlinearity, name, strides, bias=True, epsilon=1e-3)
        x = add(learned, shortcut, nonlinearity, name)
    return x


# ---- ImageNet, table 1 -----------------------------------------------------------------------------------------


def stem(x: Tensor, nonlinearity: str, bias: bool) -> Tensor:
    """A 7x7 convolution and a 3x3 max pooling, both strided: (B, H, W, C) to (B, H / 4, W / 4, 64)."""
    x = keras.layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = keras.layers.Conv2D(64, 7, 2, use_bias=bias, kernel_initializer="he_normal", name="stem")(x)
    x = activate(batch_norm(x, "stem_bn", epsilon=1e-5), nonlinearity, "stem")
    # Padded on all sides, as published weights expect: "same" would pad below and to the right only.
    return keras.layers.MaxPooling2D(3, 2, name="stem_pool")(keras.layers.ZeroPadding2D(1, name="pool_pad")(x))


@register(
    family="resnet",
    subsamples=True,
    paper=PAPER,
    input_shape=(224, 224, 3),
    classes=1000,
    parameters=11_699_112,
    trainable_parameters=11_689_512,
    pooling="average",
    scaling=IMAGENET,
    notes="Convolutions have no biases; trainable_parameters is the number that torchvision publishes. Where the size "
    "halves, the shortcut is a 1x1 convolution (option B). Padding is TensorFlow's 'same', except in the stem.",
)
def resnet18(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Four stages of two blocks of two 3x3 convolutions (table 1, 18-layer)."""
    x = stem(x, nonlinearity, bias=False)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in (1, 2):
            name = f"stage{stage}_block{block}"
            shrinks = stage > 1 and block == 1
            shortcut = x
            if shrinks:
                shortcut = batch_norm(conv(x, filters, 1, f"{name}_shortcut", 2), f"{name}_shortcut_bn", epsilon=1e-5)
            x = add(basic(x, filters, nonlinearity, name, 2 if shrinks else 1), shortcut, nonlinearity, name)
    return x


@register(
    family="resnet",
    subsamples=True,
    paper=PAPER,
    input_shape=(224, 224, 3),
    classes=1000,
    parameters=25_636_712,
    trainable_parameters=25_583_592,
    pooling="average",
    scaling=CAFFE,
    notes="As Keras has it: convolutions with biases, and the stride in a block's first 1x1 convolution. Without the "
    "26,560 biases it is the 25,557,032 of torchvision (which counts what is trained, and strides the 3x3).",
)
def resnet50(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Four stages of 3, 4, 6 and 3 bottlenecks (table 1, 50-layer)."""

    def norm(x: Tensor, name: str) -> Tensor:
        return batch_norm(x, name, epsilon=1.001e-5)

    def bottleneck(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        """1x1, 3x3, 1x1 convolutions with four times as many maps at the end (figure 5, right)."""
        shortcut = x
        if x.shape[-1] != 4 * filters:
            shortcut = norm(conv(x, 4 * filters, 1, f"{name}_shortcut", strides, bias=True), f"{name}_shortcut_bn")
        x = norm(conv(x, filters, 1, f"{name}_conv1", strides, bias=True), f"{name}_bn1")
        x = activate(x, nonlinearity, f"{name}_1")
        x = norm(conv(x, filters, 3, f"{name}_conv2", bias=True), f"{name}_bn2")
        x = activate(x, nonlinearity, f"{name}_2")
        x = norm(conv(x, 4 * filters, 1, f"{name}_conv3", bias=True), f"{name}_bn3")
        return add(x, shortcut, nonlinearity, name)

    x = stem(x, nonlinearity, bias=True)
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(1, blocks + 1):
            x = bottleneck(x, filters, 2 if stage > 1 and block == 1 else 1, f"stage{stage}_block{block}")
    return x

"""Settings of a training, validated and frozen; `recipes.config.presets` reads them from TOML."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recipes.augment.pipeline import Augment
from recipes.data.decoding import Resize
from recipes.data.readers import absolute_source
from zoo.errors import unknown
from zoo.groups import check_group
from zoo.heads import HEADS
from zoo.plugins import PluginFile, PluginPackage

Side = Annotated[int, Field(ge=1, le=16_384)]  # pixels; a larger image would fill the memory


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Settings):
    """What a recipe is for and what it was measured to reach."""

    summary: str = ""
    source: str = ""
    reaches: str = ""
    command: str = ""


class Model(_Settings):
    """Which model is built; what is None is as on the model's card.

    Attributes:
        name: of `zoo list`.
        input_shape: height, width and channels of the images.
        pooling: the head: from feature maps to features.
        hidden: units of the head's hidden layers.
        dropout: fraction of the features that is dropped in training.
        weights: what is begun with, as `zoo.create_model` takes it: `imagenet`, a run, or a file.
        symmetry: scores are exactly the same for mirrored images (`mirror`), quarter turns (`c4`) or both (`d4`), by
            the maximum of features over 2, 4 or 8 copies of each image, which costs as many times as much.
        options: the architecture's own, see `zoo show NAME`.
    """

    name: str
    input_shape: tuple[Side, Side, Side] | None = None
    pooling: str | None = None
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    weights: str | None = None
    symmetry: str | None = None
    options: dict[str, Any] = {}

    @field_validator("pooling")
    @classmethod
    def _is_a_head(cls, pooling: str | None) -> str | None:
        if pooling is not None and pooling not in HEADS:
            raise unknown("pooling", pooling, HEADS)
        return pooling

    @field_validator("symmetry")
    @classmethod
    def _is_exact(cls, symmetry: str | None) -> str | None:
        check_group(symmetry)
        return symmetry

    @field_validator("weights")
    @classmethod
    def _hold_from_any_folder(cls, weights: str | None) -> str | None:
        """A file or a run is kept by its whole path: the training may be gone on with from elsewhere."""
        return str(Path(weights).absolute()) if weights and Path(weights).exists() else weights


class DataRules(_Settings):
    """How images are read, whichever they are; arguments of a call or a command come before it.

    Attributes:
        resize: how images of another size are brought to the model's, `fill`, `fit` or `stretch`.
        split_seed: draws the validation and the test part that a source does not bring.
        skip_bad: leaves files out that cannot be used.
        split_near_duplicates: lets near duplicates come into different parts.
    """

    resize: Resize = "fill"
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    skip_bad: bool = False
    split_near_duplicates: bool | None = None  # written only where it is asked for

    def of(
        self,
        source: str,
        image_shape: tuple[int, int, int],
        also: tuple[str, ...] | None = None,
        *,
        resize: Resize | None = None,
        skip_bad: bool = False,
        split_near_duplicates: bool = False,
    ) -> "DataSettings":
        """These rules for images of a source; what is given after `also` comes before them."""
        asked = {"resize": resize, "skip_bad": skip_bad, "split_near_duplicates": split_near_duplicates}
        rules = dict(self.rules) | {name: value for name, value in asked.items() if value}
        return DataSettings(source=source, image_shape=image_shape, also=also, **rules)

    @property
    def rules(self) -> "DataRules":
        """These rules without the images of a run."""
        return DataRules(**{name: getattr(self, name) for name in DataRules.model_fields})


class DataSettings(DataRules):
    """Which images a run was trained on, and how they were brought to the model's size.

    `also` are further sources; classes of one name are one class, and those of the first source come first.
    """

    source: str
    also: tuple[str, ...] | None = None
    image_shape: tuple[Side, Side, Side]

    @field_validator("source")
    @classmethod
    def _holds_from_any_folder(cls, source: str) -> str:
        return absolute_source(source)

    @field_validator("also")
    @classmethod
    def _hold_from_any_folder(cls, also: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if also is None else tuple(absolute_source(source) for source in also)


class Optimizer(_Settings):
    """How weights are changed by their gradients.

    Attributes:
        name: all but `muon` are Keras' own. `muon` makes the momentum of every kernel but the last layer's an
            orthogonal matrix, that of convolutions too, and is AdamW for the rest (see `recipes.training.muon`).
        learning_rate: at its highest.
        weight_decay: decoupled: at every step a weight loses `learning_rate * weight_decay` of itself, beside its
            gradient (AdamW); leaves biases and normalisation alone.
        l2: the penalty `l2 / 2 * |w|^2` of papers and of Caffe: `l2 * w` is added to the gradient, after `clipnorm` and
            before momentum. Momentum m makes it 1 / (1 - m) times as strong as a `weight_decay` of that number. Leaves
            biases and normalisation alone, and the loss that is shown.
        momentum: of `sgd`, in Nesterov's form.
        clipnorm: largest norm of all gradients together.
        ema: momentum of a moving average of the weights, which is what is validated and kept; 0 for none.
    """

    name: Literal["adam", "adamw", "sgd", "lion", "rmsprop", "nadam", "muon"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    l2: Annotated[float, Field(ge=0, le=1)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    clipnorm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Schedule(_Settings):
    """The learning rate over a training.

    Attributes:
        name: `constant`; `cosine` down to zero; `step`, times `factor` at each of `drops`; `one-cycle`, up from a
            25th in the first 30 % and down to nothing in the rest, both along a cosine (Smith 2018).
        warmup_epochs: linear from zero, for `cosine`.
        drops: fractions of the training, for `step`.
        factor: of each drop.
    """

    name: Literal["constant", "cosine", "step", "one-cycle"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class FineTune(_Settings):
    """How a model that was trained before is trained on. The recipe's other settings are those of the first phase.

    In the first phase the new head learns, on what the frozen backbone makes of the images; in the second the last
    stages or layers of the backbone learn too.

    Attributes:
        source: where the backbone comes from: a model with published weights, a run, or a `.keras` file.
        keep_old_classes: classes of the source keep what its head knows of them.
        views: how often the frozen part looks at each training image: at the image itself, and views - 1 times at
            what `augment` makes of it.
        stages: of the backbone, how many of the last learn in the second phase; "all", or 0.
        layers: in place of stages, how many of the last layers with weights, BatchNorm not counted; what a skip
            connection goes past learns as a whole.
        epochs, learning_rate, warmup_epochs, early_stopping: of the second phase, as the recipe's own of the first.
        warmup_steps: the least of its warm-up, which takes half of the phase at most.
        ema: of the second phase, as the optimizer's; 0 for that.
        layer_decay: the learning rate falls by this factor from each layer with weights to the one below it.
        batch_norm: whether normalisation of what learns goes on learning too; "frozen" uses and keeps its statistics.
        quantize: "int8": a run goes on as its integer file computes it, head and all, with its own images, and there is
            one phase, with the recipe's own settings. "int4": so, with weights of four bits.
    """

    source: str | None = None
    keep_old_classes: bool = False
    views: Annotated[int, Field(ge=1, le=100)] = 1
    stages: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    layers: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    early_stopping: Annotated[int, Field(ge=0)] = 0
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_norm: Literal["frozen", "trained"] = "frozen"
    quantize: Literal["int8", "int4"] | None = None

    @model_validator(mode="after")
    def _one_cut(self) -> Self:
        if self.stages and self.layers:
            raise ValueError(f"stages={self.stages} and layers={self.layers}; allowed: one of them, the other 0")
        return self


class Unknown(_Settings):
    """Images of no class, to learn against: all classes are to get the same score of them (Hendrycks 2019).

    Attributes:
        source: as of data; its labels are not looked at, and its test images are left out.
        weight: of their loss beside that of the images to learn from, of which a batch has as many.
    """

    source: str
    weight: Annotated[float, Field(gt=0, le=100)] = 0.5

    @field_validator("source")
    @classmethod
    def _hold_from_any_folder(cls, source: str) -> str:
        return absolute_source(source)


class Distill(_Settings):
    """Trained runs to learn from, beside the labels (Hinton 2015).

    Attributes:
        teachers: runs with the same classes; of several, the mean of their probabilities counts.
        temperature: by which the logits of both are divided where they are compared; above 1, what a teacher takes for
            less likely counts more.
        weight: of what the teachers say, in the loss; the labels have the rest.
        digests: of the teachers' weights, written into a run, which goes on with the same ones only.
    """

    teachers: Annotated[tuple[str, ...], Field(min_length=1)]
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    digests: tuple[str, ...] = ()

    @field_validator("teachers")
    @classmethod
    def _hold_from_any_folder(cls, teachers: tuple[str, ...]) -> tuple[str, ...]:
        """Each by its whole path: the training may be gone on with from elsewhere."""
        paths = tuple(str(Path(teacher).absolute()) for teacher in teachers)
        if twice := [path for number, path in enumerate(paths) if path in paths[:number]]:
            raise ValueError(f"{twice[0]} is named twice; allowed: each teacher once")
        return paths

    @model_validator(mode="after")
    def _one_digest_each(self) -> Self:
        if self.digests and len(self.digests) != len(self.teachers):
            raise ValueError(
                f"{len(self.digests)} digests of {len(self.teachers)} teachers; allowed: one each, or none"
            )
        return self

    @property
    def in_words(self) -> str:
        """As reports say it."""
        return f"{', '.join(self.teachers)} (temperature {self.temperature:g}, weight {self.weight:g})"


class Recipe(_Settings):
    """Everything that decides how a model is trained. A run's `recipe.toml` holds one, fully resolved.

    Attributes:
        epochs: how often every training image is seen.
        steps: batches to learn from, in place of `epochs`: as many whole epochs as it takes.
        batch_size: images a step.
        seed: of the first weights, the order of the images, their augmentation and dropout.
        label_smoothing: fraction of every label that is spread over all classes.
        class_weight: `balanced` counts the images of rare classes more, so that all classes count the same.
        logit_adjustment: in place of that, how much of the logarithm of each class's frequency is added to its logit
            in the loss, and nowhere else: 1 is for the best balanced accuracy (Menon 2021), 0 for the best accuracy.
        class_thresholds: in place of both, `balanced` trains as if all were well and lowers the bar of rare classes
            after that: a number is added to the logit of each class, as the validation images ask for.
        precision: what layers compute in, `float32`, `mixed_float16` or `mixed_bfloat16`; weights stay float32. If it
            is left out, the device decides: float32 on a CPU, bfloat16 or float16 on a GPU that is fast at it.
        jit_compile: compiles the training step by XLA. If it is left out, on one GPU and nowhere else.
        early_stopping: epochs without improvement to wait for; 0 to train to the end.
        until: ends the training after the first epoch that is so good on the validation images: accuracy, 0 to 1.
        calibrate: divide the logits of the trained model by a temperature that is fitted on its validation images, so
            that probabilities are right as often as they say; no prediction changes.
        deterministic: operations that give the same bits on a GPU too, more slowly; on a CPU all do. It holds for the
            rest of the process.
        plugin: where the model is registered, if it is not one of the zoo's; written into a run.
    """

    about: About = About()
    model: Model | None = None
    data: DataRules | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weight: Literal["none", "balanced"] = "none"
    logit_adjustment: Annotated[float, Field(ge=0, le=10)] = 0.0
    class_thresholds: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] | None = None
    jit_compile: bool | None = None
    early_stopping: Annotated[int, Field(ge=0)] = 0
    until: Annotated[float, Field(gt=0, le=1)] | None = None
    calibrate: bool = True
    deterministic: bool = False
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    finetune: FineTune | None = None
    unknown: Unknown | None = None
    distill: Distill | None = None
    plugin: PluginFile | PluginPackage | None = None
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _balanced_once(self) -> Self:
        neither = {"class_weight": "none", "logit_adjustment": 0, "class_thresholds": "none"}
        made_up = [f"{name}={getattr(self, name)}" for name, value in neither.items() if getattr(self, name) != value]
        if len(made_up) > 1:
            raise ValueError(f"{' and '.join(made_up)} make up for rare classes; allowed: one of them")
        if self.unknown and made_up:
            raise ValueError(
                f"unknown images have no class that could be frequent or rare; allowed beside them: none of "
                f"{', '.join(neither)}"
            )
        if self.distill and (self.unknown or self.logit_adjustment or self.class_weight != "none"):
            raise ValueError(
                "teachers know of no weights of classes and of no unknown images; allowed beside [distill]: "
                "class_weight='none', logit_adjustment=0 and no [unknown]"
            )
        return self

    @property
    def soft_labels(self) -> bool:
        """Whether a label is a fraction of every class, not a number."""
        return self.augment.mixes or self.label_smoothing > 0 or bool(self.unknown or self.distill)

    def __eq__(self, other: object) -> bool:
        """Whether all settings are the same, be one of the recipes resolved or not."""
        return isinstance(other, Recipe) and dict(self) == dict(other)

    def in_epochs(self, images: int) -> Self:
        """This recipe for so many training images, with `epochs` in place of `steps`."""
        if self.steps is None:
            return self
        epochs = math.ceil(self.steps / self.steps_per_epoch(images))
        return self.model_copy(update={"epochs": epochs, "steps": None})

    def batch_of(self, images: int) -> int:
        """Images a batch, of so many in all; a batch never has an image twice."""
        return min(self.batch_size, images)

    def steps_per_epoch(self, images: int) -> int:
        """Batches that it takes to see so many images once."""
        return math.ceil(images / self.batch_of(images))


class ResolvedRecipe(Recipe):
    """A recipe with its model and its data: what a run is, or was, trained with."""

    model: Model
    data: DataSettings

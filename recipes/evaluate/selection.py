"""Which images are scored where a source was named, whatever scores them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Data, Reader, Split, load, open_reader
from recipes.data.dataset import concatenate
from recipes.data.readers import FileReader, absolute_source
from recipes.run.folder import Run
from recipes.scorers import Scorer
from recipes.tasks import TASKS, Task
from zoo.errors import RequestError, unknown


@dataclass(frozen=True)
class Labelled:
    """Images as one scorer takes them.

    Attributes:
        task: what their labels are.
        class_names: in the order of the scores.
        split: images and labels.
        trained_on: how many of them are known to be ones that the model's training used.
    """

    task: Task
    class_names: tuple[str, ...]
    split: Split
    trained_on: int = 0


@dataclass(frozen=True)
class Selection:
    """Images of a source.

    Attributes:
        reader: the source.
        words: which of its images these are.
        options: of `recipes.data.load`.
        all: whether they are those of all parts; else those of the part test.
        run: whose test images they are, if they are those of a run.
    """

    reader: Reader
    words: str
    options: dict[str, Any] = field(default_factory=dict)
    all: bool = False
    run: Run | None = None

    def load(self, scorer: Scorer, *, skip_bad: bool = False) -> Labelled:
        """The images at the scorer's size, by its resize rule, with labels by the names of its classes.

        Classes that the source lacks are allowed.

        Args:
            scorer: what they are for.
            skip_bad: leaves files out that cannot be used, as for `recipes.data.load`; a run that did so does so again.

        Raises:
            RequestError: a class that the scorer does not have, other labels than it is for, or no image.
        """
        source = self.reader.source
        options: dict[str, Any] = {"source": self.reader, "skip_bad": skip_bad or _skips_bad(scorer), "quiet": True}
        data = load(**options | self.options | {"image_shape": scorer.image_shape, "resize": scorer.resize})
        if self.run is not None:
            self.run.check_data(data)
        if scorer.task is not None and scorer.task.name != data.task:
            what = "a run" if scorer.path.is_dir() else "a file"
            raise RequestError(f"{source} is a set for {data.task}; {scorer.path} is {what} for {scorer.task.name}.")
        chosen = concatenate(list(data.parts.values())) if self.all else data.test
        if not len(chosen):
            raise RequestError(f"{source} has no image to score in its part test.")
        trained_on = 0 if _is_of(scorer, self.run) else int(learnt(scorer, data, chosen).sum())
        kind = data.label_kind
        if not kind.has_classes or not scorer.class_names:
            return Labelled(TASKS[data.task], data.class_names, chosen, trained_on)
        names = scorer.class_names
        labels = kind.renumbered(chosen.labels, class_numbers(scorer, data), len(names))
        return Labelled(TASKS[data.task], names, Split(chosen.images, labels, chosen.files), trained_on)

    def images(self, scorer: Scorer, *, skip_bad: bool = False) -> np.ndarray:
        """The images alone, uint8 (N, H, W, C), as the scorer takes them, whatever their labels are; `skip_bad` as for
        `load`.

        Raises:
            RequestError: there is none, or one cannot be read.
        """
        options: dict[str, Any] = {"source": self.reader, "skip_bad": skip_bad or _skips_bad(scorer), "quiet": True}
        data = load(**options | self.options | {"image_shape": scorer.image_shape, "resize": scorer.resize})
        chosen = concatenate(list(data.parts.values())) if self.all else data.test
        if not len(chosen):
            raise RequestError(f"{self.reader.source} has no image to score in its part test.")
        return np.asarray(chosen.images)

    def may_hold_training_images(self, scorer: Scorer) -> bool:
        """Whether the scorer's model was trained on the source in other parts, which no digest tells of."""
        run = scorer.run
        if run is None or self.all or isinstance(self.reader, FileReader) or "test" in self.reader.parts:
            return False
        return is_trained_on(run, self.reader) and run.recipe.data.split_seed != self.options["split_seed"]


def select(source: str | Reader, run: Run | None = None) -> Selection:
    """The images of a source that are scored.

    They are the test images where the source brings such a part. Where it does not, they are those that the seed draws
    from the training part of a source that is not made of files, and all images of any other.

    Args:
        source: see `recipes.data.load`.
        run: by whose seed test images are drawn. If the source is what it was trained on, they are its test images.
    """
    reader = open_reader(source)
    if run is not None and is_trained_on(run, reader):
        settings = run.recipe.data.model_dump()
        return Selection(reader, f"the test images of {run.path}", settings | {"split_table": run.split_table}, run=run)
    if not isinstance(reader, FileReader) and "train" in reader.parts and "test" not in reader.parts:
        seed = 0 if run is None else run.recipe.data.split_seed
        options = {"purpose": "join", "split_seed": seed}
        return Selection(reader, f"the fifth of its images that the seed {seed} draws", options)
    if "test" in reader.parts:
        return Selection(reader, "its part test", {"purpose": "score"})
    return Selection(reader, "all of its images", {"purpose": "score"}, all=True)


def select_unknown(reader: Reader, run: Run | None = None) -> Selection:
    """The images of no class that are scored: as `select`, but those alone that a run did not learn against."""
    against = run and run.recipe.unknown
    if run is None or not against or absolute_source(reader.source) != against.source:
        return select(reader)
    options = {"purpose": "join", "split_seed": run.recipe.data.split_seed}
    return Selection(reader, f"those that {run.path} did not learn against", options)


def is_trained_on(run: Run, reader: Reader) -> bool:
    """Whether a source is the one that a run was trained on, told by where it is."""
    mine = run.recipe.data.source
    if isinstance(reader, FileReader):
        return reader.path.resolve() == Path(mine).resolve()
    return absolute_source(reader.source) == mine


def _skips_bad(scorer: Scorer) -> bool:
    return scorer.run is not None and scorer.run.recipe.data.skip_bad


def _is_of(scorer: Scorer, run: Run | None) -> bool:
    return run is not None and scorer.run is not None and scorer.run.path.resolve() == run.path.resolve()


def class_numbers(scorer: Scorer, data: Data) -> np.ndarray:
    """For each class of the data its number among the scorer's, int64 (classes,); of one without names, its own.

    Raises:
        RequestError: a class that the scorer does not have.
    """
    names = scorer.class_names or data.class_names
    where = f"{scorer.path}/labels.txt lists" if scorer.path.is_dir() else f"{scorer.path} lists"
    for name in data.class_names:
        if name not in names:
            raise RequestError(f"{data.source}: {unknown('class', name, names, f'{where} them all.')}")
    return np.array([names.index(name) for name in data.class_names])


def learnt(scorer: Scorer, data: Data, split: Split) -> np.ndarray:
    """Whether the scorer's model was trained on each image (N,), as far as digests of their content tell."""
    if scorer.run is None or split.files is None:
        return np.zeros(len(split), bool)
    known = scorer.run.training_digests
    return np.array([data.digests.get(file) in known for file in split.files], bool)

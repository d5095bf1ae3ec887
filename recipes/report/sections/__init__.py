"""The sections of a run's report, a few to a file: each is a function that makes its piece of HTML, or nothing."""

from collections.abc import Callable

from recipes.report.sections.calibration import calibration
from recipes.report.sections.contents import Page
from recipes.report.sections.data import augmentation, samples
from recipes.report.sections.exports import exports
from recipes.report.sections.inside import inside, saliency
from recipes.report.sections.learning import learning_curves
from recipes.report.sections.mistakes import confusion_matrix, worst_mistakes
from recipes.report.sections.movement import equivariance, invariance
from recipes.report.sections.reproduce import command_to_reproduce, reproduce
from recipes.report.sections.selection import not_sure
from recipes.report.sections.summary import summary
from recipes.report.sections.use import use

__all__ = ["SECTIONS", "Page", "Section", "command_to_reproduce"]

Section = Callable[[Page], str]

# By heading, in the order of the page; a section that returns "" is left out.
SECTIONS: dict[str, Section] = {
    "Summary": summary,
    "Use": use,
    "Data": samples,
    "Augmentation": augmentation,
    "Learning curves": learning_curves,
    "Confusion matrix": confusion_matrix,
    "Worst mistakes": worst_mistakes,
    "Calibration": calibration,
    "Not sure": not_sure,
    "Invariance": invariance,
    "Shift equivariance": equivariance,
    "Inside the model": inside,
    "Saliency": saliency,
    "Exports": exports,
    "Reproduce": reproduce,
}

"""How to train the same again."""

import shlex
from html import escape

from recipes.config.settings import ResolvedRecipe
from recipes.report import charts
from recipes.report.sections.contents import Page
from recipes.run.folder import Run


def command_to_reproduce(run: Run, recipe: ResolvedRecipe) -> str:
    """What trains the same again; the run's own recipe.toml holds every setting."""
    data, words = recipe.data, ["zoo", "fit", recipe.model.name]
    source = data.source
    if recipe.finetune:
        words = ["zoo", "finetune", recipe.finetune.source or recipe.model.name]
        words += ["--weights", recipe.model.weights] if recipe.model.weights else []
        if recipe.finetune.keep_old_classes:  # those images that the source was trained on come with it
            words += ["--keep-classes"]
            source = (source, *(data.also or ()))[-1]
    words += ["--data", source, "--recipe", str(run.path / "recipe.toml")]
    return shlex.join([*words, "--out", f"{run.path}-again"])


def reproduce(page: Page) -> str:
    """The command that trains the same again, and every setting."""
    command = command_to_reproduce(page.run, page.recipe)
    recipe = (page.run.path / "recipe.toml").read_text("utf-8")
    return f"<pre><code>{escape(command)}</code></pre>" + charts.folded(
        "recipe.toml: every setting of this training", f"<pre><code>{escape(recipe)}</code></pre>"
    )

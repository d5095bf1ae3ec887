"""Values that are typed on the command line, as `click` takes them."""

from typing import Any

import click

from recipes.support.numbers import to_number, to_whole
from zoo.errors import unknown


class Choice(click.Choice):
    """One of a few words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            raise unknown(param.opts[-1] if param else "value", str(value), self.choices)
        return value


class Amount(click.ParamType):
    """A number that may end in k, M or G."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        factor = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower())
        try:
            return to_number(text[:-1]) * factor if factor else to_number(text)
        except ValueError:
            self.fail(f"{value!r} is not a number such as 60000, 60k, 1.5M or 2G.", param, ctx)


class Duration(click.ParamType):
    """Seconds, or a number that ends in s, m or h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
        try:
            return to_number(text[:-1]) * unit if unit else to_number(text)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 90s, 10m or 2h.", param, ctx)


class Objective(click.ParamType):
    """The score alone, or the score and a cost; gives the cost."""

    name = "accuracy[,COST]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        score, *costs = str(value).split(",")
        if score not in ("accuracy", "score") or len(costs) > 1:
            self.fail(
                f"{value!r} is not possible; allowed: accuracy, or accuracy,COST as in accuracy,macs.", param, ctx
            )
        return costs[0] if costs else None


class Shape(click.ParamType):
    """An image's size, HEIGHTxWIDTHxCHANNELS."""

    name = "HxWxC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        try:
            height, width, channels = map(to_whole, str(value).split("x"))
            if height and width and channels:
                return height, width, channels
        except ValueError:
            pass
        self.fail(f"{value!r} is not an image size such as 64x64x3.", param, ctx)

"""What is said of a setting that is not possible, over all settings there are."""

from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from recipes.config.presets import load_recipe
from recipes.config.settings import Recipe
from zoo.errors import RequestError


def kinds(annotation):
    """The annotation, and what it is made of."""
    yield annotation
    for part in () if get_origin(annotation) is Literal else get_args(annotation):
        yield from kinds(part)


def settings_of(model, place=()):
    """Every setting: its key, and the kinds of value that it takes."""
    for name, field in model.model_fields.items():
        found = list(kinds(field.annotation))
        tables = [kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for table in tables:
            yield from settings_of(table, (*place, name))
        if not tables:
            yield ".".join((*place, name)), found


SETTINGS = dict(settings_of(Recipe))
NAMED = {key: choices for key, found in SETTINGS.items() for choices in found if get_origin(choices) is Literal}
TEXTS = [key for key, found in SETTINGS.items() if str not in found and "plugin" not in key]


def refusal(*overrides):
    with pytest.raises(RequestError) as error:
        load_recipe("quick", overrides)
    return str(error.value)


@pytest.mark.parametrize("key", TEXTS)
def test_what_is_refused_is_named_by_its_key_alone(key):
    """A value that may be of several kinds was named by pydantic's word for the first of them, too."""
    message = refusal(f"{key}=[[{{}}]]")
    assert message.startswith((f"recipe quick: {key}=", f"recipe quick: {key}.0=")), message
    assert "\n" not in message


@pytest.mark.parametrize("key", NAMED)
def test_a_word_that_is_nearly_right_is_answered_with_the_nearest(key):
    for word in get_args(NAMED[key]):
        message = refusal(f"{key}={word}x")
        if get_origin(SETTINGS[key][0]) is Literal or type(None) in SETTINGS[key]:
            assert message.startswith(f"recipe quick: unknown {key} '{word}x': did you mean '"), message
        assert word in message
        assert not any(of_pydantic in message for of_pydantic in ("constrained", "literal["))

"""More classes for a run: it keeps what it knows, and is tested on what it was tested on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from images import digit_folders

from recipes.data.dataset import PARTS
from recipes.finetune import finetune
from recipes.fit import fit
from zoo.errors import RequestError

SHORT = ["epochs=2", "finetune.epochs=2", "augment=none"]


@pytest.mark.slow
def test_adding_classes_keeps_the_old_ones(tmp_path, monkeypatch):
    old, new = digit_folders(tmp_path / "old", "14"), digit_folders(tmp_path / "new", "7")
    settings = ["epochs=6", "model.input_shape=[28,28,1]"]
    first = fit("lenet5", data=str(old), out=tmp_path / "first", recipe="quick", overrides=settings, quiet=True).run
    started = []
    monkeypatch.setattr("recipes.finetune.train_in_phases", lambda tuning, *_, **__: started.append(tuning.model))
    kept = {"recipe": "last-stage", "overrides": SHORT, "keep_old_classes": True, "quiet": True}
    finetune(first.path, data=str(new), out=tmp_path / "start", **kept)
    before, after = first.load_model().get_layer("logits"), started[0].get_layer("logits")
    np.testing.assert_array_equal(after.kernel[:, :2], before.kernel)
    assert after.kernel.shape[1] == 3
    np.testing.assert_array_equal(*(model.get_layer("hidden_1").kernel for model in (first.load_model(), started[0])))

    monkeypatch.undo()
    fitted = finetune(first.path, data=str(new), out=tmp_path / "second", **kept | {"overrides": ["epochs=20"]})
    assert fitted.run.class_names == ("1", "4", "7")
    assert fitted.run.load_data().class_names == fitted.run.class_names
    recall = [fitted.metrics["per_class"][name]["recall"] for name in fitted.run.class_names]
    assert min(recall) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("into", ["old", "new"], ids=["the same folder", "another folder"])
def test_what_a_run_was_tested_on_is_tested_on_when_classes_are_added(tmp_path, into, monkeypatch):
    old = digit_folders(tmp_path / "old", "14", per_class=20)
    settings = ["epochs=1", "model.input_shape=[28,28,1]"]
    first = fit("lenet5", data=str(old), out=tmp_path / "first", recipe="quick", overrides=settings, quiet=True).run
    before = first.load_data()
    digit_folders(old, "14", per_class=30)  # they may have become more
    new = digit_folders(tmp_path / into, "3", per_class=20)
    how = {"recipe": "head", "overrides": ["epochs=1"], "keep_old_classes": True, "quiet": True}
    monkeypatch.chdir(tmp_path)
    second = finetune(first.path, data=new.name, out=tmp_path / "second", **how).run
    monkeypatch.chdir("/")  # a run holds from any folder
    after = second.load_data()
    assert set(before.test.files) < set(after.test.files)
    assert not set(before.test.files) & {*after.train.files, *after.validation.files}
    assert sum(after.sizes.values()) == 80
    assert second.class_names == after.class_names
    assert set(after.class_names) == {"1", "3", "4"}

    digit_folders(old, "14", per_class=35)
    assert second.load_data().sizes == after.sizes, "images that came after the training are not of the run"
    np.testing.assert_array_equal(second.load_data().test.images, after.test.images)


@pytest.mark.slow
def test_a_new_image_that_the_run_is_tested_on_is_told_or_left_out(tmp_path):
    old, new = digit_folders(tmp_path / "old", "14", per_class=20), digit_folders(tmp_path / "new", "3", per_class=20)
    settings = ["epochs=1", "model.input_shape=[28,28,1]"]
    first = fit("lenet5", data=str(old), out=tmp_path / "first", recipe="quick", overrides=settings, quiet=True).run
    tested, learnt = first.load_data().test.files, first.load_data().train.files[:2]
    for number, file in enumerate((*tested, *learnt)):
        shutil.copy(file, new / "3" / f"copy-{number}.png")
    how = {"recipe": "head", "overrides": ["epochs=1"], "keep_old_classes": True, "quiet": True}
    with pytest.raises(RequestError, match=r"would be judged by too: .* which is in another part \(test\)"):
        finetune(first.path, data=str(new), out=tmp_path / "second", **how)
    assert not (tmp_path / "second").exists()

    second = finetune(first.path, data=str(new), out=tmp_path / "second", skip_bad=True, **how).run
    data, left_out = second.load_data(), json.loads((second.path / "skipped.json").read_text())
    content = {part: {Path(file).read_bytes() for file in getattr(data, part).files} for part in PARTS}
    assert not content["test"] & (content["train"] | content["validation"])
    assert not content["validation"] & content["train"]
    assert set(tested) <= set(data.test.files)
    assert {one["kind"] for one in left_out} == {"leak"}
    assert sum(data.sizes.values()) + len(left_out) == 60 + len(tested) + len(learnt)

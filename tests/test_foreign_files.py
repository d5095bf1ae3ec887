"""Files that were made to reach beyond themselves: weights that lie in other files, features that import modules."""

import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from recipes.data import load
from recipes.run.keras_file import check_archive, load_keras_file
from zoo.errors import RequestError

PLACE = "layers/functional/layers/conv2d/vars/0"


def external(file, secret):
    file.create_dataset(PLACE, (5, 5, 1, 6), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((5, 5, 1, 6), "f4")
    layout[...] = h5py.VirtualSource(str(secret), "x", (5, 5, 1, 6))
    file.create_virtual_dataset(PLACE, layout)


def link_to_a_file(file, secret):
    file[PLACE] = h5py.ExternalLink(str(secret), "/x")


def link_to_a_group(file, secret):
    del file["layers/functional"]
    file["layers/functional"] = h5py.ExternalLink(str(secret), "/")


def link_within(file, secret):
    file[PLACE] = h5py.SoftLink("/layers/functional/layers/conv2d/vars/1")


def dangling(file, secret):
    file["layers/more"] = h5py.SoftLink("/nowhere")


@pytest.mark.parametrize("how", [external, virtual, link_to_a_file, link_to_a_group, link_within, dangling])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_that_lie_elsewhere_are_refused_before_keras_sees_them(digits_run, tmp_path, how, packing):
    (tmp_path / "secret").write_bytes(b"secret" * 1000)
    with zipfile.ZipFile(digits_run.path / "model.keras") as good:
        parts = {name: good.read(name) for name in good.namelist()}
    content = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        file["hard"] = file["layers"]  # a second name for the same, as a circle: no reason to go on for ever
        file["layers/circle"] = file["/"]
        if PLACE in file:
            del file[PLACE]
        how(file, tmp_path / "secret")
    parts["model.weights.h5"] = content.getvalue()
    with zipfile.ZipFile(tmp_path / "made.keras", "w", packing) as made:
        for name, part in parts.items():
            made.writestr(name, part)
    with pytest.raises(RequestError, match=r"made\.keras is refused: its \S+ has /(hard|layers)/.+, wh"):
        load_keras_file(tmp_path / "made.keras")


def test_groups_in_a_circle_come_to_an_end(digits_run, tmp_path):
    with zipfile.ZipFile(digits_run.path / "model.keras") as good:
        content = io.BytesIO(good.read("model.weights.h5"))
        config = good.read("config.json")
    with h5py.File(content, "r+") as file:
        file["layers/circle"] = file["/"]
    with zipfile.ZipFile(tmp_path / "circle.keras", "w") as made:
        made.writestr("config.json", config)
        made.writestr("model.weights.h5", content.getvalue())
    check_archive(tmp_path / "circle.keras")


def test_weights_that_are_no_hdf5_are_told(digits_run, tmp_path):
    for content in (b"", b"foreign", np.arange(1000).tobytes()):
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as made:
            made.writestr("config.json", "{}")
            made.writestr("model.weights.h5", content)
        with pytest.raises(RequestError, match=r"x\.keras is damaged: its model\.weights\.h5 cannot be read"):
            check_archive(tmp_path / "x.keras")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["planted_features.Evil", "planted_features", "", "tensorflow_datasets.x.Evil", "."])
def test_a_prepared_set_does_not_choose_what_is_imported(tmp_path, monkeypatch, prepared_data_folder, name, legacy):
    load("digits")
    folder = tmp_path / "set"
    shutil.copytree(prepared_data_folder / "digits" / "1.0.0", folder)
    (tmp_path / "planted_features.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    described = json.loads((folder / "features.json").read_text())
    inner = described["featuresDict"]["features"]
    inner["more"] = {"type": name, "content": {}} if legacy else {"pythonClassName": name, "text": {}}
    if legacy:
        described = {"type": name, "content": {}}
    (folder / "features.json").write_text(json.dumps(described))
    with pytest.raises(RequestError, match="cannot be read as a TensorFlow dataset"):
        load(str(folder))
    assert not (tmp_path / "was_run").exists()

"""What a backbone makes of images, kept for other tools."""

import numpy as np
import pytest
from images import digit_folders

from recipes.embed import embed
from zoo.errors import RequestError


def test_embedding_keeps_features_labels_and_files(digits_run, tmp_path):
    folder = digit_folders(tmp_path / "images", "01", per_class=20)
    embedded = embed(digits_run.path, str(folder), out=tmp_path / "f.npz", neighbours=3, quiet=True)
    assert embedded.to_dict()["images"] == 40
    assert embedded.same_class > 0.8
    with np.load(tmp_path / "f.npz") as kept:
        assert kept["features"].shape == (40, 16)
        assert kept["neighbours"].shape == kept["similarity"].shape == (40, 3)
        assert all(row not in near for row, near in enumerate(kept["neighbours"]))
        assert (np.diff(kept["similarity"], axis=1) <= 0).all()
        for file, label in zip(kept["files"], kept["labels"], strict=True):
            assert kept["class_names"][label] == file.split("/")[-2]
    with pytest.raises(RequestError, match=r"ends in \.npz"):
        embed(digits_run.path, str(folder), out=tmp_path / "f.txt")
    embed(digits_run.path, str(folder), out=tmp_path / "F.NPZ", quiet=True)
    with np.load(tmp_path / "F.NPZ") as other:
        assert (other["features"] == embedded.features).all()

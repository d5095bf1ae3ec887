"""A file is there whole or not at all, whoever else writes it at the same time."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from recipes.support.files import is_half_written, replacing, write_whole
from zoo.errors import FailureError


def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old")
    with replacing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.suffix == ".csv"
        assert is_half_written(aside)
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_text("1" * (1 // 0))
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_writers_of_one_path_do_not_write_into_each_others_files(tmp_path):
    """As two containers that share a folder would, whose process ids are the same."""
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    texts = [str(number) * 10_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_whole(tmp_path / "file", lambda aside: aside.write_text(text)), texts))
    assert (tmp_path / "file").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_written_may_be_read_by_whom_the_mask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", lambda aside: aside.write_text("text"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_names_of_files_aside_are_told_from_those_of_others(tmp_path):
    for name in (".123-history.csv", ".aside-0123456789abcdef-history.csv"):
        assert is_half_written(tmp_path / name)
    for name in ("history.csv", ".lock", ".settings-of-mine", ".aside-note", "aside-0123456789abcdef-history.csv"):
        assert not is_half_written(tmp_path / name)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FailureError, match=r"none/file cannot be written: No such file"):
        write_whole(tmp_path / "none" / "file", lambda aside: aside.write_text("text"))

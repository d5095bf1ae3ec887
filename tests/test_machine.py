"""What the machine is to blame for is said of the machine: full disks, read-only ones, processes that were killed."""

import errno
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from filelock import FileLock

from recipes.export.handover import _aside
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.support.files import check_writable, replacing
from recipes.tasks.confusion import draw_matrix
from zoo.drawing import as_matplotlib_ships
from zoo.errors import FailureError, RequestError, of_machine

NAMES = [r"$\frac{a$", "$", "_^{", r"\alpha $x$", "猫", "a\x1b\nb\udcff", "<!-- ]]>"]


def test_the_system_is_told_from_the_file():
    assert "No space left" in str(of_machine(OSError(errno.ENOSPC, "x")))
    assert "TMPDIR" in str(of_machine(OSError(errno.ENOSPC, "x")))
    assert str(of_machine(PermissionError(errno.EACCES, "x", "a/b"))) == "a/b: Permission denied."
    assert "No space left" in str(of_machine(OSError("write failed: errno = 28, error message = 'No space'")))
    outer = ValueError("damaged")
    outer.__cause__ = OSError(errno.EMFILE, "x")
    assert "Too many open files" in str(of_machine(outer))
    others = (None, ValueError(), KeyError("errno = 28"), FileNotFoundError(errno.ENOENT, "x"), OSError("truncated"))
    assert [of_machine(error) for error in others] == [None] * 5


@pytest.mark.slow
def test_a_full_temporary_folder_does_not_call_a_run_damaged(digits_run, no_room, tmp_path):
    import zoo

    with no_room(0), pytest.raises(FailureError, match=r"^File too large; temporary files go to"):
        zoo.create_model("lenet5", weights=digits_run.path)
    with no_room(0):
        digits_run.load_model()  # Keras reads it in memory


def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def test_what_cannot_be_removed_does_not_hide_what_went_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file"):
        _ = 1 // 0


def test_a_read_only_file_system_is_no_lack_of_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RequestError, match="no permission in"):
        check_writable(tmp_path / "x", tmp_path)
    if not hasattr(os, "statvfs"):
        return
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: type(real)((*real[:8], real.f_flag | os.ST_RDONLY, *real[9:])))
    with pytest.raises(RequestError, match="is on a read-only file system"):
        check_writable(tmp_path / "x", tmp_path)


def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path):
    program = (
        "import sys, pathlib, time; from recipes.export.handover import _aside\n"
        "with _aside(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'model.tflite').write_text('half'); print('there', flush=True); time.sleep(100)"
    )
    out = tmp_path / "model.tflite"
    child = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"there\n"
    (mine,) = tmp_path.iterdir()
    with _aside(out) as folder:
        assert mine.exists(), "an export that goes on keeps its folder"
        assert list(folder.iterdir()) == []
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert [mine] == list(tmp_path.iterdir())
    (tmp_path / ".export-of-mine").mkdir()
    with _aside(out):
        assert not mine.exists()
    assert [file.name for file in tmp_path.iterdir()] == [".export-of-mine"]


def test_an_export_that_fails_says_why_on_a_disk_that_takes_no_removal(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.rmtree", lambda *_, ignore_errors=False, **__: None if ignore_errors else refuse())
    with pytest.raises(FailureError, match="beyond the budget"), _aside(tmp_path / "model.tflite"):
        raise FailureError("beyond the budget")
    with pytest.raises(FailureError, match="elsewhere: No space"), _aside(tmp_path / "model.tflite"):
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere")


def test_any_name_is_drawn(tmp_path):
    for names in (NAMES, NAMES * 6):
        wrong = (1 - np.eye(len(names), dtype=int)).tolist()
        with warnings.catch_warnings(action="error"), as_matplotlib_ships():
            draw_matrix({"class_names": names, "confusion_matrix": wrong}).savefig(tmp_path / "matrix.png")
        assert (tmp_path / "matrix.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_run_that_is_resumed_without_its_labels_ends_with_them(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    given = {"data": "digits", "recipe": "quick", "overrides": ["epochs=1"], "quiet": True}
    with monkeypatch.context() as stop:
        stop.setattr("recipes.training.loop.train", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit("lenet5", out=tmp_path / "run", **given)
    (tmp_path / "run" / "labels.txt").unlink()
    resume(tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").class_names == tuple("0123456789")


def test_a_lock_of_another_process_is_respected(tmp_path):
    aside = tmp_path / f".export-{'0' * 16}"
    aside.mkdir()
    with FileLock(aside / ".lock"), _aside(tmp_path / "x"):
        assert aside.exists()
    with _aside(tmp_path / "x"):
        assert not aside.exists()

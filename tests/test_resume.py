"""A training that was stopped ends as one that was not."""

import random
import time

import forked
import numpy as np
import pytest
from images import class_folders

from recipes.finetune import finetune
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.training import checkpoint
from recipes.training.checkpoint import State
from zoo.errors import FailureError, RequestError

# Everything that has a state: augmentation, dropout, momenta, moving averages of the weights, a schedule.
SETTINGS = ["epochs=6", "augment=digits", "model.dropout=0.3", "optimizer.ema=0.99", "schedule.warmup_epochs=1"]
RECIPE = ["--recipe", "quick", *(part for setting in SETTINGS for part in ("--set", setting))]


def start(*arguments):
    """The command line as a process that checkpoints after every epoch."""
    program = (
        "import sys, recipes.training.loop, cli\nrecipes.training.loop.CHECKPOINT_SECONDS = 0\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    return forked.Process(program, *arguments)


def assert_same_ending(one, other):
    for mine, theirs in zip(one.load_model().get_weights(), other.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for name in ("history.csv", "metrics.json", "recipe.toml", "labels.txt"):
        assert (one.path / name).read_text() == (other.path / name).read_text(), name


@pytest.fixture(scope="session")
def uninterrupted(trained):
    return trained("lenet5", *SETTINGS)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bits(uninterrupted, tmp_path):
    out, moments = tmp_path / "run", random.Random(7)
    process, kills = start("fit", "lenet5", "--data", "digits", "--out", out, *RECIPE), 0
    while kills < 4:
        while not (out / "recipe.toml").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.2, 3.0))  # from its first checkpoint is written to the last epoch
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        process = start("resume", out)
    process.wait()
    assert kills >= 1
    if not (out / "metrics.json").exists():
        resume(out, quiet=True)
    assert_same_ending(Run.open(out), uninterrupted)


def wait_for(file, process):
    """Until the file is there; False if the process came to its end first."""
    while not file.exists():
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.slow
def test_a_fine_tuning_killed_in_each_of_its_phases_ends_in_the_same_bits(digits_run, tmp_path):
    folder = class_folders(tmp_path / "images", {"a": 12, "b": 12, "c": 12})
    settings = ["epochs=40", "early_stopping=0", "finetune.epochs=40", "model.dropout=0.3", "optimizer.ema=0.99"]
    settings += ["finetune.views=2", "augment.rotation=10"]
    given = {"data": str(folder), "recipe": "last-stage", "overrides": settings, "quiet": True}
    whole = finetune(digits_run.path, out=tmp_path / "whole", **given).run

    out = tmp_path / "killed"
    told = [part for setting in settings for part in ("--set", setting)]
    process = start("finetune", digits_run.path, "--data", folder, "--out", out, "--recipe", "last-stage", *told)
    for phase in ("head", "top"):
        file = out / "checkpoints" / f"{phase}.npz"
        assert wait_for(file, process), f"it ended before its phase {phase}"
        process.kill()
        process.wait()
        assert 0 < checkpoint.load(file).epoch < 40, f"the kill came after phase {phase}"
        process = start("resume", out)
    assert process.wait() == 0
    assert_same_ending(Run.open(out), whole)


@pytest.mark.slow
def test_interrupted_from_the_keyboard_it_says_how_to_go_on(uninterrupted, tmp_path, monkeypatch):
    import keras

    class Impatient(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr("recipes.training.loop.ProgressBar", lambda *_: _with_stop(Impatient()))
    with pytest.raises(FailureError, match=r"interrupted after 3 of 6 epochs; `zoo resume .*run` goes on"):
        fit("lenet5", data="digits", out=tmp_path / "run", recipe="quick", overrides=SETTINGS)
    monkeypatch.undo()
    with pytest.raises(RequestError, match="did not finish"):
        Run.open(tmp_path / "run").load_model()
    assert_same_ending(resume(tmp_path / "run", quiet=True).run, uninterrupted)


@pytest.mark.slow
def test_a_student_that_was_interrupted_ends_in_the_same_bits(digits_run, tmp_path, monkeypatch):
    import keras

    class Impatient(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    settings = [
        "epochs=3",
        "augment=digits",
        "optimizer.ema=0.99",
        "schedule.warmup_epochs=1",
        "augment.mixup.alpha=0.2",
    ]
    given = {"data": "digits", "recipe": "quick", "overrides": settings, "teachers": [digits_run.path]}
    whole = fit("lenet1", out=tmp_path / "whole", quiet=True, **given).run
    monkeypatch.setattr("recipes.training.loop.ProgressBar", lambda *_: _with_stop(Impatient()))
    with pytest.raises(FailureError, match="interrupted after 2 of 3 epochs"):
        fit("lenet1", out=tmp_path / "run", **given)
    monkeypatch.undo()
    assert_same_ending(resume(tmp_path / "run", quiet=True).run, whole)


def _with_stop(callback):
    callback.stop = lambda: None
    return callback


@pytest.mark.slow
def test_what_a_killed_process_had_half_written_does_not_stay(uninterrupted, tmp_path):
    run = Run.create(tmp_path / "run")
    run.write_text("labels.txt", (uninterrupted.path / "labels.txt").read_text())
    run.write_recipe(uninterrupted.recipe)
    aside = ".aside-0123456789abcdef"
    for name in (".123-history.csv", "checkpoints/.123-state.npz", f"{aside}-history.csv", f"checkpoints/{aside}-a"):
        (run.path / name).write_text("cut o")
    assert_same_ending(resume(run.path, quiet=True).run, uninterrupted)
    assert not list(run.path.rglob(".[0-9]*"))
    assert not list(run.path.rglob(".aside-*"))


def test_a_finished_run_has_nothing_to_resume(digits_run):
    with pytest.raises(RequestError, match="finished"):
        resume(digits_run)


def test_two_processes_cannot_write_one_run(digits_run):
    program = f"from recipes.fit import resume\nresume({str(digits_run.path)!r})"
    with digits_run.lock():
        done = forked.run(program)
    assert "is being written by another process" in done.stderr


def test_a_loss_that_is_not_a_number_stops_with_the_step(tmp_path, prepared_data_folder):
    settings = ["epochs=3", "optimizer.name=sgd", "optimizer.learning_rate=10", "model.options.nonlinearity=relu"]
    with pytest.raises(FailureError, match=r"the loss is (nan|inf|[\d.e+]+) at step \d+ of epoch 1"):
        fit("lenet5", data="digits", out=tmp_path / "run", recipe="quick", overrides=settings, quiet=True)


@pytest.mark.slow
def test_early_stopping_waits_as_long_as_it_is_told(tmp_path, prepared_data_folder):
    settings = ["epochs=30", "early_stopping=1", "optimizer.learning_rate=1e-9", "batch_size=3500"]
    fitted = fit("lenet5", data="digits", out=tmp_path / "run", recipe="quick", overrides=settings, quiet=True)
    rows = (fitted.run.path / "history.csv").read_text().splitlines()
    assert len(rows) - 1 == fitted.best_epoch + 1 < 30


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    arrays = [np.arange(12, dtype=np.float32).reshape(3, 4), np.array(7, np.int64), np.zeros((0,), np.float32)]
    state = State([{"epoch": 1, "loss": 0.1 + 0.2}], arrays * 5, arrays[::-1], 1, arrays)
    checkpoint.save(state, tmp_path / "state.npz")
    back = checkpoint.load(tmp_path / "state.npz")
    assert (back.history, back.best_epoch, back.epoch) == (state.history, 1, 1)
    for name in ("weights", "optimizer", "best_weights"):
        for mine, theirs in zip(getattr(back, name), getattr(state, name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype


def test_a_full_disk_leaves_the_checkpoint_before_intact(tmp_path, no_room):
    file = tmp_path / "state.npz"
    checkpoint.save(State([{"epoch": 1}]), file)
    before = file.read_bytes()
    with no_room(10_000), pytest.raises(FailureError, match=r"state\.npz cannot be written: File too large"):
        checkpoint.save(State([{"epoch": 1}, {"epoch": 2}], [np.zeros(10_000)]), file)
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.npz"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(FailureError, match=r"state\.npz is damaged"):
        checkpoint.load(tmp_path / "state.npz")
    assert checkpoint.load(tmp_path / "none.npz") is None

"""Several workers train as one process does; when one is killed the others stop, and go on to the same bits."""

import csv
import json
import os
import signal
import socket
import sys
import time
from itertools import pairwise

import forked
import numpy as np
import pytest

from recipes.data import pack
from recipes.distributed.team import Team, read_place
from recipes.run.folder import Run
from zoo.errors import FailureError, RequestError

# Everything that a step is made of: augmentation, clipping, averages of the weights, a batch that BatchNorm looks at
# as a whole. No Adam: it makes of gradients that are 0 but for rounding whole steps.
SETTINGS = [
    *(
        "augment=digits",
        "optimizer.name=sgd",
        "optimizer.clipnorm=0.5",
        "optimizer.ema=0.5",
        "optimizer.weight_decay=1e-3",
    ),
]


def config(*addresses, index=0, role="worker", **more):
    return json.dumps({"cluster": {"worker": list(addresses), **more}, "task": {"type": role, "index": index}})


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("localhost", 0))
    addresses = [f"localhost:{bound.getsockname()[1]}" for bound in sockets]
    for bound in sockets:
        bound.close()
    return addresses


def zoo_program():
    """`zoo`, which checkpoints after every epoch."""
    return (
        "import sys, cli\nfrom recipes.support.quiet import import_keras\nimport_keras()\n"
        "import recipes.training.loop\nrecipes.training.loop.CHECKPOINT_SECONDS = 0\nsys.exit(cli.main(sys.argv[1:]))"
    )


def start(workers, *arguments, program=None):
    """The same command line as so many processes on this machine, which checkpoint after every epoch."""
    program = program or zoo_program()
    addresses = free_addresses(workers)
    one_thread = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return [
        forked.Process(
            program,
            *arguments,
            env=os.environ | one_thread | {"TF_CONFIG": config(*addresses, index=index) if workers > 1 else ""},
        )
        for index in range(workers)
    ]


def finish(processes, timeout=240):
    """Exit code, stdout and stderr of each."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def command(model, out, *settings, data="digits"):
    sets = [part for setting in settings for part in ("--set", setting)]
    return ["fit", model, "--data", data, "--recipe", "quick", "--out", out, "--quiet", *sets]


def figures(run):
    with open(run / "history.csv") as file:
        return [[float(value) for value in row.values()] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_workers_have_the_loss_curve_and_the_weights_of_one_process(tmp_path, prepared_data_folder):
    settings = [*SETTINGS, "epochs=2", "batch_size=500", "model.input_shape=[12,12,1]"]
    pack("digits", tmp_path / "shards", quiet=True)  # of which each worker reads its own share
    both = start(2, *command("resnet8", tmp_path / "two", *settings, data=tmp_path / "shards"))
    alone = start(1, *command("resnet8", tmp_path / "one", *settings))
    for code, _, errors in finish([*both, *alone]):
        assert (code, errors) == (0, "")
    np.testing.assert_allclose(figures(tmp_path / "two"), figures(tmp_path / "one"), rtol=2e-3)
    one, two = (Run.open(tmp_path / name).load_model() for name in ("one", "two"))
    for mine, theirs in zip(two.weights, one.weights, strict=True):
        scale = max(np.abs(theirs.numpy()).max(), 1e-3)  # a bias before a BatchNorm is 0 but for rounding
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=2e-3 * scale, err_msg=mine.path)


def wait_for_rows(run, count, process, seconds=120):
    """Until so many epochs are in the history of a run."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if (run / "history.csv").exists() and len((run / "history.csv").read_text().splitlines()) > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{run} has no {count} epochs: {process.poll()}")


@pytest.mark.slow
def test_a_killed_worker_stops_the_others_and_resuming_ends_in_the_same_bits(tmp_path, prepared_data_folder):
    settings = [*SETTINGS, "epochs=5", "batch_size=250", "model.dropout=0.3"]
    whole = start(2, *command("lenet5", tmp_path / "whole", *settings))
    assert [code for code, _, _ in finish(whole)] == [0, 0]
    run = tmp_path / "run"
    arguments = command("lenet5", run, *settings)
    for killed, rows in ((1, 1), (0, 3)):  # a follower, then the chief
        workers = start(2, *arguments)
        wait_for_rows(run, rows, workers[0])
        workers[killed].send_signal(signal.SIGKILL)
        code, _, errors = finish(workers, timeout=60)[1 - killed]
        assert code == 1
        assert errors.startswith("Error: another worker is gone")
        assert errors.endswith(f" of 5 epochs are done. `zoo resume {run}` on every worker goes on.\n")
        assert errors.count("\n") == 1
        assert not (run / "metrics.json").exists()
        arguments = ["resume", run, "--quiet"]
    (code, _, errors), (other, _, _) = finish(start(2, *arguments))
    assert (code, errors, other) == (0, "", 0)
    for name in ("history.csv", "metrics.json", "recipe.toml", "labels.txt"):
        assert (run / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    one, two = (Run.open(path).load_model().get_weights() for path in (run, tmp_path / "whole"))
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
def test_what_the_chief_refuses_ends_the_others_too(tmp_path, prepared_data_folder):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (code, _, errors), (other, _, followed) = finish(start(2, *command("lenet5", tmp_path / "full")))
    assert code == 2
    assert "holds something that is not a run" in errors
    assert other == 1
    assert followed.startswith("Error: the chief (localhost:")
    assert errors.count("\n") == followed.count("\n") == 1


@pytest.mark.parametrize("text", ["", "  ", "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_without_a_cluster_there_is_one_process(text):
    assert read_place({"TF_CONFIG": text}) == ((), 0)


def test_the_chief_comes_first_whatever_its_role_is_called():
    addresses = ("one:1", "two:2")
    assert read_place({"TF_CONFIG": config(*addresses, index=1)}) == (addresses, 1)
    named = {"chief": ["boss:9"]}
    assert read_place({"TF_CONFIG": config(*addresses, index=0, role="chief", **named)}) == (("boss:9", *addresses), 0)
    assert read_place({"TF_CONFIG": config(*addresses, index="1", **named)}) == (("boss:9", *addresses), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{worker", "TF_CONFIG is not JSON .*; an example: "),
        ('{"cluster": ["one:1"]}', "no table of addresses"),
        ('{"cluster": {"worker": ["one:1", "two:2"]}}', "does not say which worker this is; an example: "),
        (config("one:1", "two:2", role="workers"), "task.type 'workers'; did you mean 'worker'\\? allowed: worker"),
        (config("one:1", "two:2", index=2), "task.index=2; allowed: 0 to 1"),
        (config("one:1", "two:2", index="x"), "task.index='x'; allowed: 0 to 1"),
        (config("one:1", "two"), r"cluster.worker=\['one:1', 'two'\]; allowed: a list of host:port"),
        (config("one:1", "one:1"), "names one:1 more than once"),
        (config("one:1", ps=["two:2"]), "a cluster with 'ps'; allowed: chief, worker"),
        (config("one:1", chief=["two:2", "three:3"]), "names 2 chiefs; allowed: one"),
    ],
)
def test_a_wrong_tf_config_is_one_line_that_says_what_is_right(text, message):
    with pytest.raises(RequestError, match=message) as raised:
        read_place({"TF_CONFIG": text})
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_what_a_fine_tuning_refuses_ends_the_others_too(digits_run, tmp_path):
    command = ["finetune", digits_run.path, "--recipe", "qat", "--out", tmp_path / "run"]
    (code, _, errors), (other, _, followed) = finish(start(2, *command))
    assert (code, errors[:63]) == (2, "Error: quantisation-aware training runs on one device: remove t")
    assert other == 1
    assert followed.startswith("Error: the chief (localhost:")
    assert errors.count("\n") == followed.count("\n") == 1


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest(monkeypatch):
    from recipes.config.presets import load_recipe
    from recipes.data import load
    from recipes.training.replicas import check_shares

    recipe, data = load_recipe("quick", ["model.name=lenet5", "batch_size=64"]), load("digits", quiet=True)
    monkeypatch.setattr(Team, "replicas", 3)
    with pytest.raises(RequestError, match=r"batch_size=64 is not possible on 3 devices.*nearest is 63"):
        check_shares(recipe, data, Team())
    monkeypatch.setattr(Team, "replicas", 4)
    check_shares(recipe, data, Team())


@pytest.mark.slow
@pytest.mark.parametrize("mixing", [[], ["augment.mixup.alpha=0.4"]])
def test_the_parts_of_a_batch_are_the_batch(mixing):
    from recipes.config.presets import load_recipe
    from recipes.data import load
    from recipes.training.model import BatchPart, training_batches

    recipe = load_recipe("quick", ["model.name=lenet5", "batch_size=60", "augment=digits", "epochs=2", *mixing])
    train = load("digits", quiet=True).train[:230]
    whole = list(training_batches(train, recipe, 10).as_numpy_iterator())
    thirds = [
        training_batches(train, recipe, 10, part=BatchPart(first, 1, 3)).as_numpy_iterator() for first in (0, 1, 2)
    ]
    assert len(whole) == 8
    for batch, *shares in zip(whole, *thirds, strict=True):
        for kind, parts in zip(batch, zip(*shares, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(parts), kind)


def test_workers_draw_other_dropout_than_each_other_and_the_same_again():
    import keras

    from recipes.training.loop import reseed

    model = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5)])

    def drawn(worker, epoch=3):
        reseed(model, 7, epoch, worker)
        return np.array(model(np.ones((4, 50), np.float32), training=True))

    first = [drawn(worker) for worker in range(3)]
    assert all((one != other).any() for one, other in pairwise(first))
    for worker in range(3):
        np.testing.assert_array_equal(drawn(worker), first[worker])
    assert (drawn(1, epoch=4) != first[1]).any()


def test_a_team_of_one_keeps_what_it_is_given():
    team = Team()
    assert team.is_chief
    assert (team.size, team.replicas) == (1, 1)
    assert team.from_chief(b"state") == b"state"
    with pytest.raises(FailureError, match="disk"), team.together(), team.told():
        raise FailureError("disk")


def test_launching_needs_its_two_options_and_ray(monkeypatch, zoo_command, tmp_path):
    code, _, errors = zoo_command("fit", "lenet5", "--data", "digits", "--out", tmp_path / "run", "--launch", "ray")
    assert (code, errors) == (2, "Error: --launch and --workers go together: --launch ray --workers 4.\n")
    monkeypatch.setitem(sys.modules, "ray", None)
    from recipes.distributed.launch import on_ray

    with pytest.raises(RequestError, match=r"--launch ray needs ray: pip install 'convzoo\[ray\]'"):
        on_ray(["fit"], 2)

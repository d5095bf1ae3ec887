"""One process on one core against two on one core each, over loopback, and what a capacity model says of it.

    python benchmarks/scaling.py --models lenet5 resnet8 vgg_small --batches 64 256
    python benchmarks/scaling.py --paper

Seconds a step, the best of several rounds. The model predicts two processes from one alone: the step on half a batch,
plus what it takes to add up gradients and statistics, of which latency and bandwidth are measured by themselves.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Network:
    """How fast vectors are added up over workers.

    Attributes:
        latency: seconds that an all-reduce of nothing takes.
        bandwidth: bytes a second.
    """

    latency: float
    bandwidth: float


def seconds_a_step(compute, parameters, workers, network, collectives=1, overlap=0.0):
    """The capacity model.

    Args:
        compute: seconds that one worker takes for its part of the batch.
        parameters: how many numbers are added up in a step, 4 bytes each.
        workers: around the ring; each sends 2 (n - 1) / n of the bytes.
        network: latency and bandwidth of the slowest link.
        collectives: all-reduces in a step, each of which waits for the last.
        overlap: fraction of the sending that goes on during the backward pass; here 0: gradients go in one piece.
    """
    sent = 2 * (workers - 1) / workers * 4 * parameters / network.bandwidth
    return compute + (workers > 1) * collectives * network.latency + (1 - overlap) * sent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["lenet5", "resnet8", "vgg_small"])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--paper", action="store_true", help="print the projection to ImageNet, and measure nothing")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.models, arguments.batches, arguments.rounds)))
        return
    if arguments.paper:
        rows = list(on_paper())
    else:
        sizes = sorted({size // n for size in arguments.batches for n in (1, 2)})
        one = run(1, arguments.models, sizes, arguments.rounds)
        two = run(2, arguments.models, arguments.batches, arguments.rounds)
        network = Network(**two["network"])
        message = f"an all-reduce over loopback: {network.latency * 1e3:.2f} ms and {network.bandwidth / 1e6:,.0f} MB/s"
        print(message, file=sys.stderr)
        rows = [compared(name, size, one, two, network) for name in arguments.models for size in arguments.batches]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("  ".join(f"{key:>12}" for key in rows[0]))
    for row in rows:
        print("  ".join(f"{v:>12.4g}" if isinstance(v, float) else f"{v:>12}" for v in row.values()))


def compared(name, size, one, two, network):
    alone, both = one["steps"][f"{name} {size}"], two["steps"][f"{name} {size}"]
    half = one["steps"][f"{name} {size // 2}"]["seconds"]
    predicted = seconds_a_step(half, both["parameters"], 2, network, both["collectives"])
    return {
        "model": name,
        "batch": size,
        "one": alone["seconds"],
        "two": both["seconds"],
        "speed-up": alone["seconds"] / both["seconds"],
        "predicted": predicted,
        "pred/meas": predicted / both["seconds"],
        "collectives": both["collectives"],
        "parameters": both["parameters"],
    }


def run(workers, models, batches, rounds):
    """What the chief of so many processes measures, each bound to a core of its own."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
    addresses = [f"localhost:{bound.getsockname()[1]}" for bound in sockets]
    for bound in sockets:
        bound.close()
    cores = sorted(os.sched_getaffinity(0))
    one_thread = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--worker", "--rounds", str(rounds), "--models", *models, "--batches"]
    processes = []
    for rank in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        processes.append(
            subprocess.Popen(
                [*command, *map(str, batches)],
                env=os.environ | one_thread | {"TF_CONFIG": json.dumps(task) if workers > 1 else ""},
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda rank=rank: os.sched_setaffinity(0, {cores[rank % len(cores)]}),
            )
        )
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a worker failed")
    return json.loads(answers[0].splitlines()[-1])


def measure(models, batches, rounds):
    """In a worker: seconds a step of every model at every batch size, and the network by itself."""
    import recipes.data
    from recipes.distributed.team import join
    from recipes.training.resolving import resolve

    team, steps = join(), {}
    network = measured_network(team) if team.strategy else None
    for name in models:
        for size in batches:
            recipe = resolve(name, "digits", "digits", [f"batch_size={size}", "augment=none", "epochs=1000"])
            data = recipes.data.load("digits", image_shape=recipe.data.image_shape, quiet=True)
            steps[f"{name} {size}"] = step_of(recipe, data, team, rounds)
    return {"steps": steps, "network": network and asdict(network)}


def step_of(recipe, data, team, rounds):
    from recipes.tasks import TASKS
    from recipes.training import replicas
    from recipes.training.model import compiled_model, training_batches

    at_once = 4
    model = compiled_model(recipe, data)
    parameters = sum(int(weight.shape.num_elements() or 1) for weight in model.trainable_weights)
    model.steps_per_execution = at_once
    if team.strategy:
        learner = replicas.twin(model, recipe, data, team.strategy)
        with team.strategy.scope():
            learner.optimizer.build(learner.trainable_variables)
        parts = replicas._batches(data, recipe, team, 0, None)
        batches = iter(team.strategy.distribute_datasets_from_function(lambda _: parts.repeat()))
        take = replicas._train_steps(learner, TASKS[data.task], at_once)
        definition = take.get_concrete_function(batches).graph.as_graph_def()
        nodes = [node for function in definition.library.function for node in function.node_def]
        collectives = sum(node.op.startswith("CollectiveReduce") for node in [*definition.node, *nodes])
    else:
        batches = iter(training_batches(data.train, recipe, len(data.class_names)))
        model.make_train_function()
        take, collectives = model.train_function, 0
    seconds = timed(lambda: take(batches), rounds) / at_once
    return {"seconds": seconds, "parameters": parameters, "collectives": collectives}


def measured_network(team):
    """Latency and bandwidth, from all-reduces of one number and of a million."""
    import tensorflow as tf

    def seconds(length):
        def total(vector):
            # A vector that is made here has a device, which is where its sum goes; one that comes in has none.
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, vector / 2)

        @tf.function
        def several(vector):
            for _ in tf.range(20):
                vector = team.strategy.run(total, args=(vector,))
            return vector

        vector = tf.ones(length)
        return timed(lambda: several(vector), 8) / 20

    short, long = seconds(1), seconds(1_000_000)
    return Network(latency=short, bandwidth=4e6 / (long - short))  # two workers send each byte once


def timed(call, rounds):
    """Seconds of the fastest call: what else the machine does only ever adds."""
    call()
    call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def on_paper():
    """ResNet-50 on ImageNet in the setting of Goyal et al. 2017; docs/scaling.md says what is assumed."""
    images, epochs, parameters, batch = 1_281_167, 90, 25_557_032, 256
    on_host = batch * 29 * 3600 / (epochs * images)  # 29 hours on one host of eight GPUs, what they exchange included
    between = Network(latency=50e-6, bandwidth=50e9 / 8)
    for hosts in (1, 2, 4, 8, 16, 32):
        for overlap in (0.0, 1.0):
            step = seconds_a_step(on_host, parameters, hosts, between, overlap=overlap)
            yield {
                "hosts": hosts,
                "GPUs": 8 * hosts,
                "batch": batch * hosts,
                "overlap": overlap,
                "s/step": step,
                "images/s": batch * hosts / step,
                "efficiency": on_host / step,
                "hours": epochs * images / (batch * hosts) * step / 3600,
            }


if __name__ == "__main__":
    main()

"""Trains with room for a part of its batch only: a program of its own, since it limits its process."""

import gc
import json
import random
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import sums_of, tiny_llama
from trajectories import trial

from training.data.chat import EncodedSample
from training.data.samples import Samples
from training.distributed.process import start_process
from training.loop.train import MemoryRanOut, TrainingSet
from training.loop.tuning import tuned

ROOM = 400 * 2**20
"""Bytes beside what the process has when it begins; a whole batch takes more than twice as much."""
BATCH = 64
CONFIG = trial(steps=2, batch_size=BATCH, safety_share=0.0, constraint={"alpha": 0.0}, learning_rate=1e-3)


def samples():
    draw = random.Random(0)
    return Samples.from_encoded([EncodedSample([draw.randrange(3, 300) for _ in range(120)], 20)] * 80, 0)


def trained(model, at_most=None):
    with tuned(model, CONFIG, TrainingSet(samples(), 80, None), None, lambda _report: False, at_most=at_most) as (
        it,
        _,
    ):
        return sum(sums_of(it))


def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def main():
    start_process()
    model = tiny_llama(hidden_size=512, intermediate_size=1024, num_attention_heads=8, num_key_value_heads=8)
    failures, at_most = [], None
    trained(model, 4)  # libraries and threads take address space when they are first used
    gc.collect()
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + ROOM, resource.RLIM_INFINITY))
    while True:
        try:
            limited = trained(model, at_most)
            break
        except MemoryRanOut as short:
            failures.append(str(short))
            at_most = short.smaller
        gc.collect()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found = {
        "batch_size": BATCH,
        "unlimited": trained(model),
        "limited": limited,
        "failures": failures,
        "at_most": at_most,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""The numbers of ``golden.json``: first losses of all stages, generated participants, preprocessed signals.

``python -m tests.reliability.golden`` prints them; ``--write`` stores them after a format number was raised, and
refuses where numbers have changed under the same format. Losses are computed in float64 from integer random numbers.
Between instruction sets (AVX2 against the default ones, oneDNN limited to SSE4.1) they differ by 1e-15, and by at most
1e-6 where images are augmented, which is done in float32.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.schema import DISEASES
from eccl_lib.data import cmr, ecg, synthetic
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.store import sharded, synthetic_store
from eccl_lib.data.synthetic import population
from eccl_lib.io.progress import silent
from eccl_lib.pipeline import stages
from eccl_lib.training.loop import trial_loop
from tests.conftest import tiny_config
from tests.training.distributed import program

FILE = Path(__file__).with_name("golden.json")
N, UPDATES = 48, 2
AUGMENT_IMAGES = ("swin", "resnet50", "pair")  # trainings that augment images; the others read ECGs and features
PARTICIPANTS = range(3)
# Relative tolerance by part. Rounding to whole microvolts and grey levels may move single samples by one unit.
TOLERANCES = {"losses": 1e-8, "image losses": 1e-5, "generated": 1e-4, "preprocessed": 1e-4}


def formats() -> dict[str, object]:
    """The format numbers that each part depends on."""
    stored = [synthetic_store.FORMAT, sharded.FORMAT]
    return {
        "losses": stages.FORMAT,
        "image losses": stages.FORMAT,
        "generated": population.GENERATOR,
        "preprocessed": [population.GENERATOR, *stored],
    }


def cohort(folder: Path) -> Cohort:
    """Participants of integer random numbers, which are the same on all machines."""
    rng = np.random.default_rng(0)
    config = tiny_config()
    side, frames = config.store.clip_size, config.store.clip_frames
    signals = np.cumsum(rng.integers(-20, 21, (N, 12, ecg.SAMPLES), dtype=np.int16), axis=2, dtype=np.int16)
    split = np.repeat(["train", "val", "test"], [N - 16, 8, 8])
    table = {"eid": [str(k) for k in range(N)], "split": split, "sex": "female", "age": 60, "heart_rate": 60.0}
    return Cohort(
        folder,
        "golden",
        pd.DataFrame(table),
        signals,
        rng.integers(0, 256, (N, side, side, frames), dtype=np.uint8),
        (rng.integers(-300, 301, (N, 82)) / 100).astype(np.float32),
        rng.integers(0, 2, (N, len(DISEASES))).astype(bool),
        pd.DataFrame(),
        progress=silent,
    )


def losses(folder: Path, kinds: Iterable[str]) -> dict[str, list[float]]:
    """Losses of the first updates of some kinds of training."""
    torch.set_num_threads(1)
    program.use(torch.float64)
    data, found = cohort(folder), {}
    for kind in kinds:
        loop = trial_loop(program.job_of(kind, data), folder)
        loop.job.model.double().train()
        rows = np.concatenate(loop.job.batches(0))[: program.ROWS]
        for k in range(UPDATES):
            loop.run_step(rows, k + 1.0)
        found[kind] = [float(loss) for loss in loop.metrics.losses]
    return found


def statistics(array: np.ndarray) -> list[float]:
    """Mean, spread and mean absolute step along the last axis: any change of shape, scale or timing moves them."""
    array = array.astype(np.float64)
    return [float(array.mean()), float(array.std()), float(np.abs(np.diff(array)).mean())]


def generated() -> dict[str, list[float]]:
    """Statistics of generated recordings."""
    config, found = tiny_config().synthetic, {}
    for k in PARTICIPANTS:
        record, cine = synthetic.render_ecg(config, k), synthetic.render_cine(config, k)
        found |= {f"ecg {k}": statistics(record.signal), f"cine {k}": statistics(cine.images)}
        found[f"labels {k}"] = statistics(cine.labels)
    return found


def preprocessed() -> dict[str, list[float]]:
    """Statistics of stored rows and of model views."""
    config, found = tiny_config(), {}
    for k in PARTICIPANTS:
        signal, rate, _ = ecg.preprocess(synthetic.render_ecg(config.synthetic, k))
        clip = cmr.crop(synthetic.render_cine(config.synthetic, k), config.store)
        found |= {f"ecg {k}": [*statistics(signal), rate], f"clip {k}": statistics(clip)}
        found[f"view {k}"] = statistics(ecg.to_view(signal, 100)) + statistics(cmr.to_view(clip, config.view))
    return found


def computed() -> dict[str, dict]:
    """Format and numbers of each part."""
    others = [kind for kind in program.KINDS if kind not in AUGMENT_IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        numbers = {
            "losses": losses(Path(folder), others),
            "image losses": losses(Path(folder), AUGMENT_IMAGES),
            "generated": generated(),
            "preprocessed": preprocessed(),
        }
    return {part: {"format": formats()[part], "numbers": numbers[part]} for part in numbers}


def changed(part: str, stored: dict, found: dict) -> list[str]:
    """Names of the numbers of a part that differ from the stored ones by more than its tolerance."""
    one, other = stored["numbers"], found["numbers"]

    def same(name: str) -> bool:
        pair = [np.array(numbers.get(name, [])) for numbers in (one, other)]
        return pair[0].shape == pair[1].shape and np.allclose(*pair, rtol=TOLERANCES[part], atol=0)

    return sorted(name for name in one.keys() | other.keys() if not same(name))


def write(found: dict[str, dict]) -> None:
    """Store the numbers. Exits where some have changed and their format number has not."""
    stored = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for part in stored:
        if stored[part]["format"] == found[part]["format"] and (names := changed(part, stored[part], found[part])):
            sys.exit(f"{part}: {', '.join(names)} changed, but the format is still {found[part]['format']}; raise it")
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write(computed()) if parser.parse_args().write else print(json.dumps(computed()))

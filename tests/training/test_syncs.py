"""Within an epoch the host asks the device for nothing: as many questions for few steps as for many."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.data import open_cohort
from eccl_lib.training.loop import Recipe, fit
from eccl_lib.training.state import MetricAccumulator
from tests.conftest import tiny_config
from tests.pipeline.courses import COURSES, course_of, quiet

pytestmark = pytest.mark.usefixtures("shared_runs")
aten = torch.ops.aten
ASKING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.masked_select.default}


class Questions(TorchDispatchMode):
    """Counts what makes a host wait: numbers asked of a tensor, and operations whose shape hangs on its values."""

    def __init__(self, patch):
        super().__init__()
        self.count = 0
        for name in ("tolist", "numpy", "cpu"):
            patch.setattr(torch.Tensor, name, self.counting(getattr(torch.Tensor, name)))

    def counting(self, method):
        def counted(tensor, *arguments, **options):
            self.count += 1
            return method(tensor, *arguments, **options)

        return counted

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        boolean = function is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += function in ASKING or boolean
        return function(*args, **(kwargs or {}))


def questions(recipe, steps, folder, patch):
    """How many are asked in one epoch of so many steps, its end and its checkpoint included."""
    rows = recipe.batches(0)[0][:4]
    short = Recipe(recipe.model, lambda epoch: [rows] * steps, recipe.step, lambda: {"score": 0.0})
    config = TrainingConfig(epochs=1, warmup_epochs=0, lr=1e-4)
    folder.mkdir()
    with patch.context() as inner, Questions(inner) as asked:
        fit(short, config, seed=0, folder=folder, fingerprint="x", log=quiet)
    return asked.count


@pytest.mark.parametrize("disease", ["I48", "traits"])
@pytest.mark.parametrize("key", COURSES)
def test_the_number_of_questions_does_not_hang_on_the_number_of_steps(key, disease, tmp_path, monkeypatch):
    config = tiny_config(disease)
    recipe = course_of(key, config, open_cohort.load(config, quiet)).recipe
    asked = [questions(recipe, steps, tmp_path / str(k), monkeypatch) for k, steps in enumerate((1, 1, 4))]
    assert asked[1] == asked[2] > 0  # the first also asks what is asked once in a process


def test_a_step_that_asks_is_counted(tmp_path, monkeypatch):
    config = tiny_config()
    recipe = course_of("mae", config, open_cohort.load(config, quiet)).recipe

    def asking(rows, generator):
        loss, logs = recipe.step(rows, generator)
        return loss * (1 if float(loss.detach()) > 0 else 2), logs

    nosy = Recipe(recipe.model, recipe.batches, asking, recipe.validate)
    few, many = (questions(nosy, steps, tmp_path / str(steps), monkeypatch) for steps in (1, 4))
    assert many == few + 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA tells of waiting itself; there is none here")
@pytest.mark.parametrize("key", COURSES)
def test_cuda_reports_no_wait_within_an_epoch(key, tmp_path):
    """From the second step's first line to the sixth's: forward, backward, the optimiser's update and the ledger."""
    config = tiny_config(**{"runtime.device": "cuda"})
    recipe = course_of(key, config, open_cohort.load(config, quiet)).recipe
    rows, done = recipe.batches(0)[0], []

    def step(rows, generator):
        done.append(rows)
        torch.cuda.set_sync_debug_mode("error" if 1 < len(done) < 6 else "default")
        return recipe.step(rows, generator)

    short = Recipe(recipe.model, lambda epoch: [rows] * 6, step, lambda: {"score": 0.0})
    runtime = RuntimeConfig(device="cuda", compile="off")  # a trial of torch.compile would be the first steps
    schedule = TrainingConfig(epochs=1, warmup_epochs=0, lr=1e-4)
    try:
        fit(short, schedule, seed=0, folder=tmp_path, fingerprint="x", runtime=runtime, log=quiet)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(done) == 7  # the last counts the work of a sample


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA tells of waiting itself; there is none here")
@pytest.mark.parametrize("place", ["optimiser", "ledger"])
def test_cuda_reports_a_wait_in_the_update_and_in_the_ledger(place, tmp_path, monkeypatch):
    owner, name = {"optimiser": (torch.optim.Adam, "step"), "ledger": (MetricAccumulator, "add")}[place]
    plain = getattr(owner, name)

    def asking(*arguments):
        float(torch.ones((), device="cuda"))
        return plain(*arguments)

    monkeypatch.setattr(owner, name, asking)
    with pytest.raises(RuntimeError, match="synchroniz"):
        test_cuda_reports_no_wait_within_an_epoch("mae", tmp_path)

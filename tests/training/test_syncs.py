"""Within an epoch the host asks the device for nothing: as many questions for few steps as for many."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.data import open_cohort
from eccl_lib.training.loop import fit
from eccl_lib.training.state import MetricAccumulator
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import JOBS, FunctionJob, FunctionStep, job_of, quiet

pytestmark = pytest.mark.usefixtures("shared_runs")
aten = torch.ops.aten
SCHEDULE = TrainingConfig(epochs=1, warmup_epochs=0, lr=1e-4)
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


def questions(job, steps, folder, patch):
    """How many are asked in one epoch of so many steps, its end and its checkpoint included."""
    rows = job.batches(0)[0][:4]
    short = FunctionJob(job.model, job.step, SCHEDULE, (), lambda epoch: [rows] * steps, lambda: {"score": 0.0})
    folder.mkdir()
    with patch.context() as inner, Questions(inner) as asked:
        fit(short, seed=0, folder=folder, fingerprint="x", log=quiet)
    return asked.count


@pytest.mark.parametrize("disease", ["I48", "traits"])
@pytest.mark.parametrize("key", JOBS)
def test_the_number_of_questions_does_not_hang_on_the_number_of_steps(key, disease, tmp_path, monkeypatch):
    config = tiny_config(disease)
    job = job_of(key, config, open_cohort.load(config, quiet))
    asked = [questions(job, steps, tmp_path / str(k), monkeypatch) for k, steps in enumerate((1, 1, 4))]
    assert asked[1] == asked[2] > 0  # the first also asks what is asked once in a process


def test_a_step_that_asks_is_counted(tmp_path, monkeypatch):
    config = tiny_config()
    job = job_of("pretrain_ecg", config, open_cohort.load(config, quiet))

    def asking(batch):
        loss = job.step.loss(job.step.encode(batch), batch)["loss"]
        return {"loss": loss * (1 if float(loss.detach()) > 0 else 2)}

    few, many = (
        questions(replace(job, step=FunctionStep(asking)), steps, tmp_path / str(steps), monkeypatch)
        for steps in (1, 4)
    )
    assert many == few + 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA tells of waiting itself; there is none here")
@pytest.mark.parametrize("key", JOBS)
def test_cuda_reports_no_wait_within_an_epoch(key, tmp_path):
    """From the second step's first line to the sixth's: forward, backward, the optimiser's update and the ledger."""
    config = tiny_config(**{"runtime.device": "cuda"})
    job = job_of(key, config, open_cohort.load(config, quiet))
    rows, done, encode = job.batches(0)[0], [], job.step.encode

    def counted(batch):
        done.append(batch.rows)
        torch.cuda.set_sync_debug_mode("error" if 1 < len(done) < 6 else "default")
        return encode(batch)

    job.step.encode = counted
    short = FunctionJob(job.model, job.step, SCHEDULE, (), lambda epoch: [rows] * 6, lambda: {"score": 0.0})
    runtime = RuntimeConfig(device="cuda", compile="off")  # a trial of torch.compile would be the first steps
    try:
        fit(short, seed=0, folder=tmp_path, fingerprint="x", runtime=runtime, log=quiet)
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
        test_cuda_reports_no_wait_within_an_epoch("pretrain_ecg", tmp_path)

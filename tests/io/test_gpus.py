"""Local workers take one GPU each, on a machine that says that it has some."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from eccl_lib import grid
from eccl_lib.io import workers
from eccl_lib.models.build import visible_gpus
from tests.conftest import tiny_config


def claim(gpus, runs):
    """In a fresh process: the GPU that it takes; the process stays alive until all have taken one."""
    workers._take_gpu(gpus, runs)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def claims(count, gpus, runs):
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(claim, gpus, runs) for _ in range(20 * count)]
        return dict(job.result() for job in jobs)  # by process


def test_each_process_has_a_gpu_of_its_own(tmp_path):
    found = claims(3, ("0", "1", "2"), tmp_path)
    assert len(set(found.values())) == len(found) and set(found.values()) <= {"0", "1", "2"}


def test_more_processes_than_gpus_share_them_and_a_dead_process_frees_its_own(tmp_path):
    found = claims(3, ("4",), tmp_path)
    assert set(found.values()) == {"4"}
    assert set(claims(1, ("4", "5"), tmp_path).values()) == {"4"}


def test_a_device_with_slashes_in_its_name_can_be_taken(tmp_path):
    assert set(claims(1, ("MIG-GPU-5a2/1/0",), tmp_path).values()) == {"MIG-GPU-5a2/1/0"}


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_one_worker_per_visible_gpu_by_default_and_jobs_is_respected(four_gpus, monkeypatch):
    config = tiny_config(**{"runtime.device": "auto"})
    assert grid.local_workers(config).jobs == 4 and grid.local_workers(config).gpus == ("0", "1", "2", "3")
    assert grid.local_workers(config, 2).jobs == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert grid.local_workers(config).gpus == ("2", "3")


def test_runs_on_the_cpu_use_the_configured_number_of_processes(four_gpus):
    config = tiny_config(**{"runtime.device": "cpu", "runtime.workers": 3})
    assert visible_gpus(config) == () and grid.local_workers(config).jobs == 3

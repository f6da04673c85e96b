"""A finished run is a folder of config, metrics, history, predictions and weights; a manifest has their checksums."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.config.load import essentials
from eccl_lib.config.schema import Config
from eccl_lib.config.version import VERSION
from eccl_lib.io import machine, paths
from eccl_lib.io.files import (
    REPEAT,
    exclusive_lock,
    read_json,
    sha256,
    verify,
    write_array,
    write_atomically,
    write_json,
    write_sealed,
)
from eccl_lib.models.build import device
from eccl_lib.training import distributed

MANIFEST = "manifest.json"
OUTPUTS = "outputs.json"  # what a model needs beside its config and weights (``pipeline/outputs.py``)
FILES = ("config.json", "metrics.json", "history.csv", "predictions.parquet", "model.safetensors")


@dataclass(frozen=True)
class Run:
    """The folder of a training, found by its fingerprint, which covers all that the result depends on."""

    folder: Path
    fingerprint: str
    stage: str
    variant: str
    task: str
    seed: int

    @classmethod
    def of(cls, config: Config, stage: str, variant: str, task: str, fingerprint: str) -> Run:
        """The run of these parameters, whether it exists or not."""
        folder = paths.run_dir(config.scale, config.cohort, stage, variant, task, config.seed, fingerprint)
        return cls(folder, fingerprint, stage, variant, task, config.seed)

    @classmethod
    def every(cls, stage: str) -> list[Run]:
        """All finished runs of a stage under ``runs``, of any scale and cohort."""
        found = []
        for path in sorted(paths.runs_root().glob(f"*/{stage}/*/*/seed*-*/{MANIFEST}")):
            seed = paths.seed_of(path.parent)
            manifest = read_json(path)
            if manifest.get("status") == "done" and seed is not None:
                found.append(cls(path.parent, manifest["fingerprint"], stage, path.parts[-4], path.parts[-3], seed))
        return found

    @classmethod
    def at(cls, folder: Path) -> Run:
        """The finished run in a folder at any place, also one that was copied. Raises MissingError if there is none."""
        if not (folder / MANIFEST).is_file():
            raise MissingError(_no_run(folder))
        manifest = read_json(folder / MANIFEST)
        if manifest.get("status") != "done":
            raise MissingError(f"the run in {folder} is not finished; run its training again, which resumes")
        if (folder / OUTPUTS).is_file():
            stated = read_json(folder / OUTPUTS)
            facts = (stated["stage"], stated["variant"], stated["task"])
        else:
            facts = ("", "", "", *folder.resolve().parts)[-4:-1]
        return cls(folder, manifest["fingerprint"], *facts, int(read_json(folder / "config.json")["seed"]))

    @property
    def name(self) -> str:
        """Its path below ``runs/<scale>-<cohort>``."""
        return "/".join(self.folder.parts[-4:])

    @property
    def done(self) -> bool:
        """Whether it is finished. Raises DamagedError where the folder belongs to other parameters."""
        return self.manifest().get("status") == "done"

    def manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if not path.is_file():
            return {}
        content = read_json(path)
        if content.get("fingerprint") != self.fingerprint:
            raise DamagedError(path, "belongs to another run", REPEAT)
        return content

    def path(self, name: str) -> Path:
        """A file of a finished run, after its checksum is verified. Raises DamagedError."""
        path = self.folder / name
        verify(path, self.manifest()["files"][name])
        return path

    @property
    def metrics(self) -> dict[str, Any]:
        return read_json(self.path("metrics.json"))

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.path("config.json"))

    @property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.path("history.csv"))

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per test participant: eid, row in the cohort, then target and score per output."""
        return pd.read_parquet(self.path("predictions.parquet"))

    @property
    def outputs(self) -> dict[str, Any]:
        """Content of outputs.json. Raises MissingError, with the cure, for a run that was made without it."""
        if not (self.folder / OUTPUTS).is_file():
            content = read_json(self.folder / "config.json")
            raise MissingError(
                f"{self.folder} has no {OUTPUTS}: the run was made by an earlier version, so the mean and SD of its "
                f"targets are unknown. Where its cohort is, repeat the command that trained the run (scale "
                f"{content['scale']}, cohort {content['cohort']}, disease {content['disease']}, seed "
                f"{content['seed']}): the finished training is reused and the file is written."
            )
        return read_json(self.folder / OUTPUTS)

    def write_outputs(self, compute: Callable[[], dict[str, Any]]) -> None:
        """Write outputs.json of a finished run, unless it is there. It does not change the run's fingerprint."""
        if not distributed.broadcast(lambda: (self.folder / OUTPUTS).is_file()):
            content = compute()
            distributed.on_main_process(lambda: write_sealed(self.folder / OUTPUTS, content))

    @property
    def timing(self) -> dict[str, float]:
        """Wall-clock and CPU seconds; the only file that a repetition does not reproduce."""
        return read_json(self.folder / "timing.json")

    def weights(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Best weights by name; with ``prefix`` only those of this part, without the prefix."""
        weights = load_file(self.path("model.safetensors"))
        return with_prefix(weights, prefix) if prefix else weights

    def has_cached(self, name: str) -> bool:
        """Whether ``cached_array`` has this array."""
        return (self.folder / f"{name}.json").is_file()

    def cached_timing(self, name: str) -> dict[str, Any]:
        """Time to compute a cached array: ``cpu_seconds``, and wall-clock ``seconds`` where its file has them."""
        return read_json(self.folder / f"{name}.json")

    def cached_array(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that depends on this run's weights only, computed once and kept beside them with its checksum."""
        path, digest = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        if not distributed.broadcast(lambda: self.has_cached(name)):  # who may only read needs no lock
            with distributed.held_by_main_process(lambda: exclusive_lock(self.folder)):
                if not distributed.broadcast(lambda: self.has_cached(name)):
                    self._cache(path, digest, compute)
        verify(path, read_json(digest)["sha256"])
        return np.load(path, allow_pickle=False)

    @staticmethod
    def _cache(path: Path, digest: Path, compute: Callable[[], np.ndarray]) -> None:
        clock, began = time.perf_counter(), time.process_time()
        array = compute()
        spent = {"cpu_seconds": time.process_time() - began, "seconds": time.perf_counter() - clock}
        distributed.on_main_process(lambda: write_array(path, array))
        content = {"sha256": sha256(path)} | {name: round(value, 3) for name, value in spent.items()}
        distributed.on_main_process(lambda: write_sealed(digest, content))

    def finish(
        self,
        config: Config,
        model: torch.nn.Module,
        history: pd.DataFrame,
        metrics: dict[str, Any],
        predictions: pd.DataFrame,
        timing: dict[str, float],
    ) -> None:
        """Write all files, then the manifest, which marks the run as finished; then remove the checkpoint."""
        write_json(self.folder / "config.json", essentials(config) | {"runtime": None})
        write_json(self.folder / "metrics.json", metrics)
        write_sealed(self.folder / "timing.json", timing)
        write_atomically(self.folder / "history.csv", lambda path: history.to_csv(path, index=False))
        write_atomically(self.folder / "predictions.parquet", lambda path: predictions.to_parquet(path, index=False))
        save_tensors(self.folder / "model.safetensors", model.state_dict())
        manifest = {
            "status": "done",
            "fingerprint": self.fingerprint,
            "files": {name: sha256(self.folder / name) for name in FILES},
            "made_with": made_with(config),
        }
        write_sealed(self.folder / MANIFEST, manifest)
        for state in self.folder.glob("state-*.safetensors"):
            state.unlink()


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors atomically, as contiguous copies on the CPU."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda beside: save_file(plain, beside))


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose name starts with ``prefix.``, without that prefix."""
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}


def made_with(config: Config) -> dict[str, Any]:
    """Code, versions, processor and settings that can change a result or its last bits."""
    return {
        **machine.commit(),
        "cpu": machine.cpu_model(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "eccl_lib": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": config.runtime.threads,
        "ranks": distributed.world_size(),
        "device": device(config).type,
        **({"deterministic": True} if config.runtime.deterministic else {}),
    }


def _no_run(folder: Path) -> str:
    """What is wrong with a folder that is no run's, and the run that was probably meant."""
    if not folder.is_dir():
        root = paths.runs_root()
        places = sorted(root.iterdir()) if root.is_dir() and not folder.is_absolute() else []
        meant = [place / folder for place in places if (place / folder / MANIFEST).is_file()]
        cure = f"; give the whole path, {' or '.join(map(str, meant))}" if meant else ""
        return f"there is no folder {folder}{cure}"
    below = next((path for k in range(5) for path in sorted(folder.glob(f"{'*/' * k}seed*-*/{MANIFEST}"))), None)
    cure = f"; give one of the runs below it, such as {below.parent}" if below else ""
    return f"{folder} is no folder of a finished run: it has no {MANIFEST}{cure}"

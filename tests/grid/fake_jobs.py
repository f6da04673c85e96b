"""Jobs that train nothing: for the tests of the grid's order, failures and deaths."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import Config
from eccl_lib.io import paths
from eccl_lib.training.runs import Run


@dataclass(frozen=True)
class FakeJob:
    """Writes who ran it. does: what happens on the way. seconds: it takes, in two epochs."""

    key: str
    config: Config
    needs: tuple[FakeJob, ...] = ()
    does: str = "well"  # well, fails, dies once, dies
    seconds: float = 0.0

    is_features = False
    arrays = ("ecg", "clips")

    def train(self, log) -> None:
        folder = self.run(None).folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "pids").open("a") as file:
            file.write(f"{os.getpid()}\n")
        with (folder.parent / "order").open("a") as file:
            file.write(f"{self.key}\n")
        if self.does == "fails":
            raise ConfigError(f"{self.key} cannot be trained\nand a second line")
        if self.does == "dies" or (self.does == "dies once" and not (folder / "died").exists()):
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        for epoch in (1, 2):
            time.sleep(self.seconds / 2)
            log(f"{self.key}  epoch {epoch}/2")
        (folder / "result").write_text(self.key)

    def run(self, data) -> Run:
        return Run(_folder(self.config) / self.key, "", "fake", "", self.config.disease, self.config.seed)

    def done(self, data) -> bool:
        return (self.run(None).folder / "result").exists()

    def parents(self) -> tuple[FakeJob, ...]:
        return self.needs

    @property
    def kind(self) -> str:
        return f"fake/{self.seconds:g}"

    def estimate(self, data) -> float:
        return self.seconds


def _folder(config: Config) -> Path:
    return paths.scale_root(config.scale, config.cohort) / "fake"


def order(config: Config) -> list[str]:
    """Keys of the jobs in the order in which they began."""
    return (_folder(config) / "order").read_text().split()


def pids(config: Config) -> set[int]:
    """Processes that ran jobs."""
    return {int(line) for path in _folder(config).glob("*/pids") for line in path.read_text().split()}

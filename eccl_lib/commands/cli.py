"""The console script ``eccl``: its commands, their common options, and the guard that prints an error as one line."""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import click

from eccl_lib.config import command_line, registry
from eccl_lib.config.errors import ConfigError, DamagedError, MissingError, UnreadableError
from eccl_lib.config.escape import printable
from eccl_lib.config.load import SCALES, load
from eccl_lib.config.schema import Config
from eccl_lib.io import disk
from eccl_lib.io.progress import OutputClosedError, say

# Name -> module of this package and one line for ``eccl --help``. A module is imported when its command runs.
COMMANDS = {
    "demo": ("demo", "Run the notebooks on the synthetic cohort."),
    "predict": ("predict", "Predict traits and disease scores of ECG files and folders."),
    "embed": ("embed", "Write embeddings of ECG files or of a cohort."),
    "export": ("export", "Write a run's model for others: safetensors, ONNX, model card."),
    "ingest": ("ingest", "Build a store from UK Biobank's files, or from other ECGs or cines."),
    "cohort": ("cohort", "Build or open a cohort and print its size."),
    "train": ("train", "Train one stage or one row of Table 1."),
    "table1": ("table1", "Train all cells of Table 1."),
    "study": ("study", "Train Table 1 at study scale with five seeds."),
    "report": ("report", "Write a finished Table 1 as one HTML page with checklists."),
    "probe": ("probe", "Compare ECG encoders on your own labels."),
    "tensorboard": ("tensorboard", "Write the training curves of finished runs for TensorBoard."),
    "config": ("config", "List the fields of the config, with value, default and source."),
    "plan": ("plan", "Estimate time and memory before training."),
    "withdraw": ("withdraw", "Remove withdrawn participants from all stores and results."),
    "verify": ("verify", "Compare every file of runs and stores with its checksum."),
    "privacy": ("privacy", "Check the repository for participants' data."),
    "leakage": ("leakage", "Check a cohort and its runs for eight kinds of leakage."),
}
EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


class Several(click.Option):
    """An option that may repeat and takes several values: ``--rows ssl eccl`` or ``--rows ssl --rows eccl``.

    With ``must_contain``, it takes only values with this sign after the first: ``--set a=1 b=2 NAME`` leaves NAME as an
    argument.
    """

    def __init__(self, *names: Any, must_contain: str = "", **settings: Any) -> None:
        super().__init__(*names, multiple=True, **settings)
        self.must_contain = must_contain


class Names(click.ParamType):
    """A choice among names that are read when the command runs, since outside packages add to them."""

    name = "name"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._choice = lambda: click.Choice(tuple(names()))

    def convert(self, value: Any, option: click.Parameter | None, context: click.Context | None) -> str:
        return self._choice().convert(value, option, context)

    def get_metavar(self, *arguments: Any, **options: Any) -> str | None:
        return self._choice().get_metavar(*arguments, **options)

    def shell_complete(self, *arguments: Any) -> list[Any]:
        return self._choice().shell_complete(*arguments)


class TaskNames(Names):
    """A choice among tasks that is checked with the config, which can have diseases of its own."""

    def __init__(self) -> None:
        super().__init__(registry.TASKS.names)

    def convert(self, value: Any, option: click.Parameter | None, context: click.Context | None) -> str:
        return str(value)


class Command(click.Command):
    """A command whose ``Several`` options take all values that follow them."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        several = {name: p for p in self.params if isinstance(p, Several) for name in p.opts}
        expanded, option = [], None
        for k, word in enumerate(words):
            if word.startswith("-"):
                option = word if word in several else None
                if option is None or k + 1 == len(words):
                    expanded.append(word)
            elif option and (words[k - 1] == option or several[option].must_contain in word):  # the first is its own
                expanded += [option, word]
            else:
                expanded.append(word)
                option = None
        return super().parse_args(context, expanded)


class Commands(click.Group):
    """Commands that are imported only when they run, so that ``eccl --help`` is fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"eccl_lib.commands.{COMMANDS[name][0]}").command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.ClickException as error:  # its message can quote a file's name from the command line
            error.message = printable(error.message)
            raise

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


@click.group(cls=Commands, context_settings=SETTINGS)
@click.version_option(package_name="eccl-lib")
def eccl() -> None:
    """ECCL: learning cardiac-MRI information from a ten-second ECG.

    Finished runs are reused; interrupted runs resume. Results lie under runs/, or under $ECCL_RUNS.

    \b
    eccl demo
    eccl train eccl --scale demo --disease I42
    eccl predict my_ecg.dcm
    """


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: make a function a command of ``eccl``; its docstring is the help text."""
    return click.command(name, cls=Command, context_settings=SETTINGS, **settings)


def parameters(disease: bool = True, scale: str = "demo") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: --scale, --cohort, --disease, --seed and --set, passed on as the arguments of ``config_of``."""
    options = [
        click.option("--scale", type=click.Choice(SCALES), default=scale, help="sizes of models and schedule"),
        click.option("--cohort", default="synthetic", help="synthetic, ukb, or a store: ecg-NAME, cmr-NAME"),
        click.option("--disease", type=TaskNames(), default="I21", help="the task") if disease else None,
        click.option("--seed", type=int, default=0, help="seed of the training"),
        set_option(),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for option in options if option]):
            function = option(function)
        return function

    return decorate


def set_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: --set FIELD=VALUE..., given to the function as ``settings``."""
    help_text = "fields of the config, such as align.epochs=5 align.batch=64"
    return click.option("--set", "settings", cls=Several, must_contain="=", metavar="FIELD=VALUE...", help=help_text)


def config_of(
    scale: str, cohort: str, disease: str = "I21", seed: int = 0, settings: tuple[str, ...] = (), build: bool = True
) -> Config:
    """The config of a command's options. build: also train missing prerequisites, unless a setting says otherwise."""
    overrides = {"runtime.build_missing": True} if build else {}
    overrides |= command_line.overrides(settings)
    return load(scale, cohort=cohort, disease=disease, seed=seed, overrides=overrides)


def guard(run: Callable[[], Any]) -> int:
    """Run a command and return its exit status.

    An error that the user can correct is printed in one line and gives status 2. An interrupt (Ctrl-C, or SIGTERM
    from a cluster) gives status 130. A reader of the output that closes it, such as ``head``, ends the command
    without a message, with the status that a shell gives for SIGPIPE.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run() or 0
    except OutputClosedError:
        # Python writes what is left in the buffer at its end, which would fail again with a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (ConfigError, UnreadableError, MissingError, DamagedError, LookupError, OSError) as error:
        say(f"error: {disk.explain(error)}", error=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        say("interrupted; run the same command again to resume", error=True)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: run the function under ``guard`` and exit with its status."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> None:
        sys.exit(guard(lambda: function(*arguments, **options)))

    return wrapper


def main(words: list[str] | None = None) -> None:
    """The entry point of ``eccl`` and of ``python -m eccl_lib``. words: by default those of the command line."""
    eccl.main(words, prog_name="eccl")

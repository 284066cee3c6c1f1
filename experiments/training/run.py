"""One run, start to end: data, training, the test of its checkpoints, the summary."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging as absl_logging

from experiments.inference.evaluation import Evaluation
from experiments.program.compiled import keep_compiled
from experiments.program.console import Console, format_duration
from experiments.program.errors import ConfigError, ExperimentError
from experiments.program.memory import peak_memory_bytes
from experiments.program.signals import StopSignals
from experiments.runs.environment import device, provenance
from experiments.runs.folder import OURS, RunFolder, open_run
from experiments.runs.history import record_resumption, trained_on
from experiments.runs.records import read_records
from experiments.runs.series import training_speed
from experiments.settings.config import Config
from experiments.settings.fields import settings_of
from experiments.settings.resume import changeable, check_same, saved_config
from experiments.training.build import Experiment, build_experiment
from experiments.training.dtype import resolve_dtype
from experiments.training.loop import Loop
from jax_resnet import checkpoint
from jax_resnet.checkpoint.steps import complete_steps
from jax_resnet.errors import CheckpointError
from jax_resnet.parallel.collectives import allgather_rows, broadcast_from_primary

__all__ = ["run"]


def run(config: Config, console: Console) -> dict[str, Any]:
    """Trains and tests; returns the content of ``summary.json``.

    Raises:
        ConfigError: An invalid setting.
        ExperimentError: The folder cannot be written, or the training diverged.
        jax_resnet.errors.DataError: The data is not available.
        Preempted: A signal stopped the run.
    """
    keep_compiled(config.run.compilation_cache)
    config = resolve_dtype(config, console)
    config.check()
    absl_logging.set_verbosity(absl_logging.ERROR)  # orbax logs every file otherwise
    with open_run(config.workdir, resume=config.run.resume, overwrite=config.run.overwrite) as folder:
        if config.run.resume:
            broadcast_from_primary(lambda: _check_resumed(config), (ExperimentError, ConfigError))
        elif config.run.overwrite:
            _check_is_run(folder.path)
        experiment = build_experiment(
            config, config.data.load(console), restored=_has_checkpoint(config), say=console.line
        )
        _check_agreement(config, experiment)
        data = experiment.data
        held_out = f", {len(data.val):,} held out" if data.val else ""
        console.line(
            f"{config.model.arch} ({experiment.parameters:,} parameters) on {data.name}: "
            f"{len(data.train):,} images{held_out}, {data.total_steps:,} steps of "
            f"{config.optim.batch_size}, recipe {config.recipe}, on {device()}; run folder {folder.path}"
        )
        if config.run.overwrite:
            folder.clear()  # what fails before leaves the run as it was
        if not config.run.resume:
            # Before anything else: a run that is killed at once can be resumed all the same.
            folder.write_json("config.json", {**experiment.metadata, **provenance()})
        with (
            StopSignals(folder.path) as signals,
            checkpoint.Checkpointer(folder.path.absolute()) as checkpointer,
        ):
            with console.outliving_its_reader():
                loop = Loop(experiment, folder, checkpointer, signals, console)
                last_step = max(min(config.run.max_steps or data.total_steps, data.total_steps), loop.step)
                if config.run.resume:
                    # After the restore: what fails before leaves the settings as they were.
                    record_resumption(folder, experiment.metadata, trains=loop.step < last_step)
                if loop.step < last_step:
                    folder.reopen()
                loop.run(last_step)
                checkpointer.wait()
                summary = _finish(experiment, loop, folder, console)
            loop.stop_if_asked()  # one of several runs may have more to come
    return broadcast_from_primary(lambda: summary)  # when all that process 0 writes is written


def _check_agreement(config: Config, experiment: Experiment) -> None:
    """Checks that all processes train with the same settings on the same images.

    Each orders the images by itself: of another number of them it would make another order, without a word.

    Raises:
        ExperimentError: One differs from the first; it is raised in all, before anything is written.
    """
    settings = {name: value for name, value in settings_of(config).items() if name not in changeable()}
    settings["training data"] = experiment.data.train.fingerprint
    mine = json.loads(json.dumps(settings))
    theirs, names = broadcast_from_primary(lambda: mine), sorted(mine)
    different = [number for number, name in enumerate(names) if mine[name] != theirs.get(name)]
    first = allgather_rows([np.array([different[0] if different else -1])])
    for process, number in enumerate(first):
        if number >= 0:
            name = names[number].replace("_", " ")
            raise ExperimentError(
                f"process {process} has another {name} than process 0: start all with the same flags and data"
            )


def _has_checkpoint(config: Config) -> bool:
    """Whether a resumed run goes on from a checkpoint or fails: where there is one, it never starts anew."""
    folder = config.workdir / checkpoint.CHECKPOINTS
    found: bool = broadcast_from_primary(
        lambda: config.run.resume and folder.is_dir() and bool(complete_steps(folder))
    )
    return found


def _check_resumed(config: Config) -> None:
    """Checks that there is a run to resume, and that it was begun with these settings.

    Raises:
        ConfigError: Other settings.
        ExperimentError: There is no run.
    """
    if saved_config(config.workdir) is None:
        raise ExperimentError(_why_not_resumed(config.workdir))
    check_same(config, config.workdir)


def _why_not_resumed(folder: Path) -> str:
    """Why there is no run to resume, and what to do, in one line."""
    if (folder / "config.json").exists():
        return (
            f"{folder / 'config.json'} is damaged, or of another program or version: it cannot resume a run"
        )
    if seeds := sorted(path.parent.name for path in folder.glob("*seed*/config.json")):
        return f"{folder} holds the runs {', '.join(seeds)}: repeat their command, or name one as --workdir"
    return f"no run in {folder} to resume: leave --resume out to start one"


def _check_is_run(folder: Path) -> None:
    """Checks that what ``--overwrite`` deletes is a run: other programs name files like ours, too.

    Raises:
        ConfigError: It is not.
    """
    found = [name for name in OURS if (folder / name).exists()]
    if found and saved_config(folder) is None and not read_records(folder / "metrics.jsonl"):
        raise ConfigError(
            f"{folder} holds {found[0]}, which is not of a run of this program: name another --workdir, or "
            "delete it yourself"
        )


def _finish(experiment: Experiment, loop: Loop, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Tests the last and the best checkpoint, once each, and writes predictions, curves and summary."""
    config = experiment.config
    last = _test(loop, loop.state.eval_variables, "last", loop.step, console)
    best_step, best, lost = loop.best_step, last, None
    if best_step not in (None, loop.step):
        try:
            restored = checkpoint.restore(folder.path.absolute(), which=best_step)
            variables = experiment.plan.place(restored.variables)
            best = _test(loop, variables, "best", best_step, console)
        except CheckpointError as error:
            lost = str(error)
            console.line(f"the best checkpoint, of step {best_step}, is lost: {lost}; the last is reported")
    folder.write_predictions(labels=last.labels, logits_last=last.logits, logits_best=best.logits)
    records = folder.records()
    if folder.writes:
        from experiments.runs.plots import plot_curves  # takes as long to import as the first steps

        plot_curves(records, f"{config.model.arch} on {config.data.dataset}", folder.path / "curves.png")
    summary = {
        "arch": config.model.arch,
        "recipe": config.recipe,
        "dataset": config.data.dataset,
        "parameters": experiment.parameters,
        "epochs": experiment.epoch(loop.step),
        "steps": loop.step,
        "total_steps": experiment.data.total_steps,
        "val_accuracy": loop.val_accuracy,
        "best_step": best_step,
        "test_accuracy": last.accuracy,
        "test_accuracy_best": best.accuracy if best_step is not None and lost is None else None,
        "best_checkpoint_lost": lost,
        "test_loss": last.loss,
        "images_per_second": training_speed(records),
        "seconds": loop.seconds(),
        "peak_memory_mib": round(peak_memory_bytes() / 2**20),
        "seed": config.run.seed,
        **trained_on(folder),
    }
    results = {"test accuracy": last.accuracy, "validation accuracy": loop.val_accuracy}
    folder.log_settings(
        dataclasses.asdict(config), {name: value for name, value in results.items() if value is not None}
    )
    folder.write_json("summary.json", summary)  # last: it says that the run is finished
    chosen = ""
    if summary["test_accuracy_best"] is not None:
        chosen = f", of the checkpoint best on validation {best.accuracy:.2%}"
    console.line(
        f"test accuracy {last.accuracy:.2%}{chosen}; {loop.step} steps in {format_duration(loop.seconds())}; "
        f"all in {folder.path}"
    )
    return summary


def _test(loop: Loop, variables: dict[str, Any], which: str, step: int, console: Console) -> Evaluation:
    """Evaluates a checkpoint on the test set."""
    images = loop.experiment.data.test
    console.line(f"testing the {which} checkpoint on {len(images):,} images ...")
    return loop.evaluate(
        "test", f"the test loss of the {which} checkpoint", images, variables, step, which=which
    )

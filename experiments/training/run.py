"""One run, start to end: data, training, the test of its checkpoints, the summary."""

import dataclasses
from typing import Any

from absl import logging as absl_logging

from experiments.inference.evaluation import Evaluation
from experiments.program.compiled import keep_compiled
from experiments.program.console import Console, format_duration
from experiments.program.errors import ConfigError, ExperimentError
from experiments.program.memory import peak_memory_bytes
from experiments.program.signals import StopSignals
from experiments.runs.environment import device, provenance
from experiments.runs.folder import RunFolder, open_run
from experiments.runs.history import record_resumption, trained_on
from experiments.runs.series import training_speed
from experiments.settings.config import Config
from experiments.training.build import Experiment, build_experiment
from experiments.training.checks import check_is_run, check_resumable, check_same_data, has_checkpoint
from experiments.training.dtype import resolve_dtype
from experiments.training.loop import Loop
from jax_resnet import checkpoint
from jax_resnet.errors import CheckpointError
from jax_resnet.parallel.collectives import broadcast_from_primary

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
            broadcast_from_primary(lambda: check_resumable(config), (ExperimentError, ConfigError))
        elif config.run.overwrite:
            check_is_run(folder.path)
        experiment = build_experiment(
            config, config.data.load(console), restored=has_checkpoint(config), say=console.line
        )
        check_same_data(experiment)
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

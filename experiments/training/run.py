"""One run, start to end: data, training, the one look at the test set, the summary."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import logging as absl_logging

from experiments.inference.evaluation import Evaluation, evaluate
from experiments.program.console import Console, spell
from experiments.program.errors import ConfigError
from experiments.program.malloc import peak_memory_bytes
from experiments.runs import plots
from experiments.runs.folder import RunFolder, device, open_run, provenance, versions
from experiments.settings.config import Config
from experiments.settings.datasets import load
from experiments.training.build import Experiment, build
from experiments.training.loop import Loop
from jax_resnet import checkpoint
from jax_resnet.parallel import broadcast_from_primary

# What a resumed run may be told anew: nothing that its numbers depend on.
MAY_CHANGE = {
    "run": {
        "workdir",
        "max_steps",
        "log_every",
        "eval_batch_size",
        "eval_every",
        "test_every",
        "checkpoint_minutes",
        "resume",
        "overwrite",
    },
    "data": {"data_dir", "archive", "mirror", "workers"},
    "parallel": {"parallel", "shard_params", "remat", "coordinator", "num_processes", "process_id"},
}


def run(config: Config, console: Console) -> dict[str, Any]:
    """Trains and tests as told; returns what ``summary.json`` holds.

    Raises:
        ConfigError: A setting that cannot be.
        ExperimentError: The folder is not to be had, or the training blew up.
        jax_resnet.data.DataError: The data is not to be had.
        Preempted: A signal stopped the run.
    """
    config.check()
    absl_logging.set_verbosity(absl_logging.ERROR)  # orbax explains itself at length otherwise
    with open_run(config.workdir, resume=config.run.resume, overwrite=config.run.overwrite) as folder:
        if config.run.resume:
            check_same(config, folder.path)
        dataset = load(config.data, console)
        experiment = build(config, dataset)
        folder.write_json("config.json", {**experiment.described, **provenance()})
        held_out = f", {len(experiment.val)} held out" if experiment.val else ""
        console.line(
            f"{config.model.arch} ({experiment.parameters:,} parameters) on {dataset.name}: "
            f"{len(experiment.train):,} images{held_out}, {experiment.total_steps:,} steps of "
            f"{config.optim.batch_size}, recipe {config.recipe}, on {device()}; run folder {folder.path}"
        )
        with checkpoint.Checkpointer(folder.path) as checkpointer:
            loop = Loop(experiment, folder, checkpointer, console)
            limit = config.run.max_steps or experiment.total_steps
            loop.run(until=max(min(limit, experiment.total_steps), loop.step))
            checkpointer.wait()
            summary = finish(experiment, loop, folder, console)
    return broadcast_from_primary(lambda: summary)  # when all that process 0 writes is written


def finish(experiment: Experiment, loop: Loop, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Tests the last and the best checkpoint, once each, and writes what the run came to."""
    config = experiment.config
    last = test(experiment, loop.state.eval_variables, "last", loop.step, folder, console)
    best_step = loop.best_step
    best = last
    if best_step not in (None, loop.step):
        restored = checkpoint.restore(folder.path, which=best_step)
        best = test(experiment, experiment.plan.place(restored.variables), "best", best_step, folder, console)
    folder.write_predictions(labels=last.labels, logits_last=last.logits, logits_best=best.logits)
    records = folder.records()
    if folder.writes:
        plots.curves(records, f"{config.model.arch} on {config.data.dataset}", folder.path / "curves.png")
    summary = {
        "arch": config.model.arch,
        "recipe": config.recipe,
        "dataset": config.data.dataset,
        "parameters": experiment.parameters,
        "epochs": loop.step / experiment.steps_per_epoch,
        "steps": loop.step,
        "total_steps": experiment.total_steps,
        "val_accuracy": loop.val_accuracy,
        "best_step": best_step,
        "test_accuracy": last.accuracy,
        "test_accuracy_best": best.accuracy if best_step is not None else None,
        "test_loss": last.loss,
        "images_per_second": loop.images_per_second,
        "seconds": loop.seconds(),
        "peak_memory_mib": round(peak_memory_bytes() / 2**20),
        "seed": config.run.seed,
        "device": device(),
        "versions": versions(),
    }
    folder.write_json("summary.json", summary)
    chosen = f", of the checkpoint best on validation {best.accuracy:.2%}" if best_step is not None else ""
    console.line(
        f"test accuracy {last.accuracy:.2%}{chosen}; {loop.step} steps in {spell(loop.seconds())}; "
        f"all in {folder.path}"
    )
    return summary


def test(
    experiment: Experiment,
    variables: dict[str, Any],
    which: str,
    step: int,
    folder: RunFolder,
    console: Console,
) -> Evaluation:
    """Evaluates on the test set, and records it."""
    with console.progress(f"test of the {which} checkpoint (images)", len(experiment.test)) as advance:
        result = evaluate(
            experiment.eval_step, variables, experiment.test, experiment.config.run.eval_batch_size, advance
        )
    folder.log(
        {
            "kind": "test",
            "which": which,
            "step": step,
            "epoch": step / experiment.steps_per_epoch,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "images": result.images,
        }
    )
    return result


def check_same(config: Config, folder: Path) -> None:
    """Refuses to continue a run under other settings than it was started with.

    Raises:
        ConfigError: Naming the setting.
    """
    from experiments.settings.flags import saved_config

    written = saved_config(folder)
    if written is None:
        return
    before, now = dataclasses.asdict(written), dataclasses.asdict(config)
    for group, settings in now.items():
        if not isinstance(settings, dict):
            settings, before_settings = {group: settings}, {group: before[group]}
        else:
            before_settings = before[group]
        for name, value in settings.items():
            if name not in MAY_CHANGE.get(group, ()) and before_settings[name] != value:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(
                    f"the run in {folder} was started with {flag} {before_settings[name]}, not {value}: "
                    "resume it without that flag, or start another in a new --workdir"
                )

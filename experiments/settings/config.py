"""What an experiment can be told. These classes are the command line: a field is a flag."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from experiments.program.errors import ConfigError
from experiments.settings.datasets import complaint
from jax_resnet.models import create_model


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    arch: str = "resnet20"
    """Its name: resnet20, resnet18, plain56, ... (python -m jax_resnet.models lists them)."""
    stem: Literal["cifar", "imagenet", "imagenet_d"] = "cifar"
    """First layers: a 3x3 convolution, or ImageNet's strided one and a max-pool."""
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = "default"
    """Where shapes change: A pads with zeros, B projects, C projects in every block."""
    zero_init_residual: bool = False
    """Start every block as its shortcut."""
    init_from: str | None = None
    """Start from these weights: a run's folder or a file; the head is fresh where the class count differs."""
    dtype: Literal["f32", "bf16"] = "f32"
    """In which the network computes; parameters, statistics and loss stay float32."""
    scan_layers: bool = False
    """Run equal blocks in a loop: a network of 1,000 layers becomes a program of the size of one of 20."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images."""

    dataset: Literal["cifar10", "cifar100", "mnist", "digits", "folder", "imagenet2012"] = "cifar10"
    """digits is scikit-learn's, small and without a download; folder is one of pictures, see --data-dir."""
    data_dir: str | None = None
    """Where data sets are kept, TFDS's own folder by default; for folder, what train/CLASS/*.jpg is in."""
    archive: str | None = None
    """A data set's original archive or its extracted folder, to read instead of a download."""
    mirror: tuple[str, ...] = ()
    """URLs to try after the original host's."""
    val_size: int = 5000
    """Training images held out to choose the best checkpoint by; 0 trains on all and reports the last."""
    image_size: int = 224
    """folder, imagenet2012: height and width of random windows to train on and of the middle to test on."""
    workers: int = 2
    """folder, imagenet2012: processes that decode pictures; 0 for threads of this one."""
    crop_padding: int = 4
    """Random crops of the image padded by this much, 0 for none; streamed pictures are cut as they come."""
    flip: bool = True
    """Mirror half of the images."""
    randaugment: int = 0
    """Operations of RandAugment on each image, one after another, such as 2; 0 for none."""
    randaugment_magnitude: float = 9.0
    """How strong they are, 0 to 30."""
    cutout: int = 0
    """Side of the square that is taken from each image, in pixels, such as 16 for CIFAR-10; 0 for none."""
    mixup: float = 0.0
    """Mix pairs of images and their labels, by shares from Beta(this, this), such as 0.2; 0 for not."""
    cutmix: float = 0.0
    """Put a rectangle of another image into each, labels likewise, such as 1; with --mixup, one or other."""
    mean: tuple[float, ...] = ()
    """Subtracted from pixels in [0, 1], a number a channel; the data set's own by default."""
    std: tuple[float, ...] = ()
    """Divides them; the data set's own by default."""


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimizer, and for how long."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """As PyTorch has them; adam and adamw want a learning rate of about 0.001."""
    batch_size: int = 128
    """Images a step."""
    epochs: int = 200
    """Passes over the training images; the learning rate's schedule spans them."""
    steps: int | None = None
    """Length in steps instead of epochs."""
    learning_rate: float = 0.1
    """At its highest."""
    scale_learning_rate: bool = False
    """Multiply it by --batch-size / 256 (Goyal et al. 2017, section 2.1)."""
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = "cosine"
    """Shape of the learning rate over the training."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: shares of the training after which the learning rate falls."""
    factor: float = 0.1
    """step: what it is multiplied by there."""
    peak_at: float = 0.3
    """one-cycle: share of the training at which the learning rate is highest."""
    warmup_epochs: float = 0.0
    """Rise linearly to the schedule over this many epochs."""
    warmup_error: float = 0.0
    """Learn at a tenth of the rate until the training error is below this share; 0 for no such warm-up."""
    momentum: float = 0.9
    """Share of the last update that is kept; beta1 of adam and adamw."""
    beta2: float = 0.999
    """adam, adamw: share of the mean squared gradient that is kept."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: float = 5e-4
    """sgd, adam: added to the gradient; adamw: taken off the weights, times the learning rate."""
    decay_all: bool = True
    """Decay BatchNorm's parameters and biases too."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    ema: float = 0.0
    """Evaluate and keep a moving average of the weights with this decay, such as 0.999; 0 for none."""


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Many devices, many processes. --batch-size is shared by all of them."""

    parallel: Literal["auto", "jit", "shard_map", "pmap"] = "auto"
    """How the step is spread over devices; all train alike. auto is jit, for --bn per-device shard_map."""
    bn: Literal["global", "per-device"] = "global"
    """BatchNorm's statistics in training: the whole batch's, or each device's own."""
    shard_params: bool = False
    """Give each device a part of parameters and optimizer state instead of all of them."""
    accumulate: int = 1
    """Parts of the batch that pass one after the other; BatchNorm takes each part's own statistics."""
    steps_per_dispatch: int = 1
    """Steps an accelerator makes in a loop of its own before the next batches; on CPU always 1."""
    remat: bool = False
    """Compute activations again in the backward pass rather than keep them."""
    coordinator: str | None = None
    """HOST:PORT where process 0 listens; auto under Slurm, MPI, Kubernetes and on TPUs."""
    num_processes: int | None = None
    """With --coordinator HOST:PORT: how many processes there are."""
    process_id: int | None = None
    """With --coordinator HOST:PORT: which of them this is, from 0."""

    def check(self) -> None:
        """See ``Config.check``."""
        if self.accumulate < 1:
            raise ConfigError(f"--accumulate must be more than 0, not {self.accumulate}")
        if self.steps_per_dispatch < 1:
            raise ConfigError(f"--steps-per-dispatch must be more than 0, not {self.steps_per_dispatch}")
        if self.steps_per_dispatch > 1 and self.parallel == "pmap":
            raise ConfigError("--steps-per-dispatch goes with --parallel jit or shard_map")
        if self.bn == "per-device" and self.parallel == "jit":
            raise ConfigError("--parallel jit sees the whole batch: --bn per-device needs shard_map or pmap")
        if self.shard_params and (self.parallel in ("shard_map", "pmap") or self.bn == "per-device"):
            raise ConfigError("--shard-params goes with --parallel jit and --bn global alone")
        count, index = self.num_processes, self.process_id
        if self.coordinator in (None, "auto"):
            if count is not None or index is not None:
                raise ConfigError("--num-processes and --process-id need --coordinator HOST:PORT")
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"--coordinator is HOST:PORT or auto, not {self.coordinator}")
        if count is None or index is None:
            raise ConfigError("--coordinator HOST:PORT needs --num-processes and --process-id")
        if not 0 <= index < count:
            raise ConfigError(f"--process-id is 0 to {count - 1}, of --num-processes {count}, not {index}")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The run."""

    workdir: str | None = None
    """Its folder; runs/DATASET-ARCH-RECIPE-seedSEED by default."""
    seed: int = 0
    """Initial weights, validation split, order and augmentation all follow from it."""
    seeds: int = 1
    """Runs with this many seeds, --seed and the following, each in its folder; the same again continues."""
    max_steps: int | None = None
    """Stop after this step, the schedule unchanged; --resume goes on from there."""
    log_every: int = 50
    """Steps a line of metrics.jsonl."""
    eval_batch_size: int = 500
    """Images a step of evaluation; metrics are exact whatever it is."""
    eval_every: int = 1
    """Epochs between evaluations on the validation set."""
    test_every: int = 0
    """Epochs between looks at the test set, for its curve alone: they choose nothing; 0 for none."""
    checkpoint_minutes: float = 10.0
    """Checkpoint this often between evaluations, after each of which there is one anyway."""
    resume: bool = False
    """Continue the run in the folder from its newest checkpoint."""
    overwrite: bool = False
    """Delete the run in the folder and start again."""


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment."""

    recipe: str = "standard"
    """Defaults for all the rest, see above."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    parallel: ParallelConfig = dataclasses.field(default_factory=ParallelConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    @property
    def workdir(self) -> Path:
        """The run's folder."""
        if self.run.workdir:
            return Path(self.run.workdir)
        name = f"{self.data.dataset}-{self.model.arch}-{self.recipe}-seed{self.run.seed}"
        return Path("runs") / name

    def check(self) -> None:
        """Finds what no run could use, before anything is read or written.

        Raises:
            ConfigError: Naming the flag.
        """
        positive = {
            "--batch-size": self.optim.batch_size,
            "--epochs": self.optim.epochs,
            "--steps": 1 if self.optim.steps is None else self.optim.steps,
            "--seeds": self.run.seeds,
            "--max-steps": 1 if self.run.max_steps is None else self.run.max_steps,
            "--learning-rate": self.optim.learning_rate,
            "--log-every": self.run.log_every,
            "--eval-batch-size": self.run.eval_batch_size,
            "--eval-every": self.run.eval_every,
            "--checkpoint-minutes": self.run.checkpoint_minutes,
        }
        for flag, number in positive.items():
            if not number > 0:
                raise ConfigError(f"{flag} must be more than 0, not {number}")
        not_negative = {
            "--val-size": self.data.val_size,
            "--crop-padding": self.data.crop_padding,
            "--randaugment": self.data.randaugment,
            "--cutout": self.data.cutout,
            "--mixup": self.data.mixup,
            "--cutmix": self.data.cutmix,
            "--weight-decay": self.optim.weight_decay,
            "--warmup-epochs": self.optim.warmup_epochs,
            "--test-every": self.run.test_every,
            "--seed": self.run.seed,
        }
        for flag, number in not_negative.items():
            if not number >= 0:
                raise ConfigError(f"{flag} must be 0 or more, not {number}")
        if not 0 <= self.data.randaugment_magnitude <= 30:
            raise ConfigError(
                f"--randaugment-magnitude must be 0 to 30, not {self.data.randaugment_magnitude}"
            )
        shares = {
            "--momentum": self.optim.momentum,
            "--beta2": self.optim.beta2,
            "--label-smoothing": self.optim.label_smoothing,
            "--ema": self.optim.ema,
            "--warmup-error": self.optim.warmup_error,
        }
        for flag, number in shares.items():
            if not 0 <= number < 1:
                raise ConfigError(f"{flag} must be at least 0 and below 1, not {number}")
        for share in (*self.optim.milestones, self.optim.peak_at):
            if not 0 < share < 1:
                raise ConfigError(f"--milestones and --peak-at are shares between 0 and 1, not {share}")
        if trouble := complaint(self.data):
            raise ConfigError(trouble)
        if bool(self.data.mean) != bool(self.data.std) or any(value <= 0 for value in self.data.std):
            raise ConfigError("--mean and --std go together, a number a channel, --std above 0")
        if self.optim.nesterov and (self.optim.optimizer != "sgd" or not self.optim.momentum):
            raise ConfigError("--nesterov is a form of sgd's momentum: leave it out, or --optimizer sgd")
        if self.run.resume and self.run.overwrite:
            raise ConfigError("--resume keeps the run and --overwrite deletes it: choose one")
        self.parallel.check()
        try:
            model = create_model(**self.model_arguments(num_classes=10))
        except ValueError as error:
            raise ConfigError(f"--arch {self.model.arch}: {error}") from None
        if self.parallel.remat and not hasattr(model, "remat"):
            raise ConfigError(f"--remat: {self.model.arch} has no stages to compute again")

    def model_arguments(self, num_classes: int) -> dict[str, Any]:
        """What ``create_model`` takes, as JSON can hold it."""
        arguments: dict[str, Any] = {"name": self.model.arch, "num_classes": num_classes}
        if self.model.stem != "cifar":
            arguments["stem"] = self.model.stem
        if self.model.shortcut != "default":
            arguments["shortcut"] = self.model.shortcut
        if self.model.zero_init_residual:
            arguments["zero_init_residual"] = True
        if self.model.dtype == "bf16":
            arguments["dtype"] = "bfloat16"
        if self.model.scan_layers:
            arguments["scan_layers"] = True
        return arguments


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """Rebuilds a config class from its ``asdict`` that went through JSON; unknown keys are dropped."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    kept = {}
    for name, value in values.items():
        if name not in fields:
            continue
        nested = fields[name].type
        if isinstance(nested, type) and dataclasses.is_dataclass(nested):
            value = from_dict(nested, value)
        kept[name] = tuple(value) if isinstance(value, list) else value
    return kind(**kept)

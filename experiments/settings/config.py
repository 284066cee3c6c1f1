"""The settings of a training run. These classes are the command line: a field is a flag."""

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.program.errors import ConfigError
from experiments.settings.datasets import DataSource, check_pixels
from experiments.settings.fields import check_ranges, setting
from experiments.settings.parallel import ParallelConfig

__all__ = [
    "SHORTCUT_HELP",
    "STEM_HELP",
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "ParallelConfig",
    "RunConfig",
]

LARGEST_IMAGE = 2**15  # pixels
LARGEST_SEED = 2**32 - 1  # JAX's keys take no more bits

STEM_HELP = (
    "First layers. cifar: one 3x3 convolution; imagenet: a 7x7 of stride 2 and a max-pool; imagenet_d: three "
    "3x3 for the 7x7 (He et al. 2018)."
)
SHORTCUT_HELP = (
    "Shortcuts. Where shapes change A pads with zeros, B projects, D averages 2x2 pixels and projects; C "
    "projects in every block; none leaves all of them out."
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Network."""

    arch: str = setting(
        "resnet20", "Network: resnet20, resnet18, ... (python -m jax_resnet.models lists them).", common=True
    )
    stem: Literal["cifar", "imagenet", "imagenet_d"] = setting("cifar", STEM_HELP)
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = setting("default", SHORTCUT_HELP)
    zero_init_residual: bool = setting(False, "Initialize every block as its shortcut.")
    init_from: str | None = setting(
        None,
        "Initial weights: a run folder, a file, or the name of pretrained weights; the head is new where the "
        "number of classes differs.",
        metavar="WEIGHTS",
    )
    act: str | None = setting(
        None, "Activation: relu, gelu, silu, ... (default: the network's).", metavar="NAME"
    )
    whiten: bool = setting(
        False,
        "Initialize the first convolution so that it whitens patches of the training images (Jordan 2024); "
        "--freeze stem_conv/kernel keeps it so.",
    )
    dtype: Literal["f32", "bf16", "auto"] = setting(
        "f32",
        "Type of the network's computations; auto is bf16 where this machine is faster in it. Parameters, "
        "statistics and loss stay float32.",
        common=True,
    )
    norm_momentum: float | None = setting(
        None,
        "Weight of the past in BatchNorm's running statistics (default: the network's, 0.9).",
        at_least=0,
        below=1,
    )
    scan_layers: bool = setting(
        False, "Run equal blocks in a loop, so that deep networks compile as fast as shallow ones."
    )


# The smallest alpha of Beta(alpha, alpha). With smaller ones, samples in float32 are 0, 1 or NaN.
LEAST_ALPHA = 0.001


@dataclasses.dataclass(frozen=True)
class DataConfig(DataSource):
    """Data and augmentation."""

    val_size: int | None = setting(
        None,
        "Training images held out to choose the best checkpoint; 0 trains on all and keeps the last "
        "(default: 5000, or a tenth of a smaller data set).",
        at_least=0,
    )
    crop_padding: int = setting(
        4,
        "Pixels added around each image before a random crop; 0 turns crops off.",
        at_least=0,
        at_most=LARGEST_IMAGE,
    )
    padding: Literal["black", "mean", "reflect"] = setting(
        "black", "What random crops show outside the image: black, the mean color, or the mirrored image."
    )
    center: Literal["per-channel", "per-pixel"] = setting(
        "per-channel",
        "Mean that is subtracted: each channel's, or every pixel's in the training images (He et al.).",
    )
    flip: bool = setting(True, "Mirror half of the images.")
    alternate_flips: bool = setting(
        False, "Mirror every image in every other epoch instead of at random (Jordan 2024)."
    )
    randaugment: int = setting(0, "RandAugment operations per image, such as 2; 0 turns it off.", at_least=0)
    randaugment_magnitude: float = setting(9.0, "Magnitude of RandAugment.", at_least=0, at_most=30)
    cutout: int = setting(
        0,
        "Side in pixels of the square erased from each image, such as 16; 0 turns it off.",
        at_least=0,
        at_most=LARGEST_IMAGE,
    )
    small_size: int = setting(
        0,
        "Height and width that images are resized to in the first part of the training, which is faster, "
        "such as 24; 0 for their own.",
        at_least=0,
    )
    small_part: float = setting(0.5, "Fraction of the training with --small-size.", above=0, below=1)
    mixup: float = setting(
        0.0,
        "Mixup: blend pairs of images with weights from Beta(X, X), such as 0.2; 0 turns it off.",
        at_least=0,
        at_most=1000,
    )
    cutmix: float = setting(
        0.0,
        "CutMix: paste a rectangle of another image, area from Beta(X, X), such as 1; 0 turns it off.",
        at_least=0,
        at_most=1000,
    )
    mean: tuple[float, ...] = setting(
        (), "Per-channel mean of pixels scaled to [0, 1] (default: the data set's)."
    )
    std: tuple[float, ...] = setting(
        (), "Per-channel standard deviation of pixels scaled to [0, 1] (default: the data set's)."
    )

    def check(self) -> None:
        """Checks the data source and the normalization.

        Raises:
            ConfigError: Naming the flag.
        """
        super().check()
        check_pixels(self.mean, self.std)
        if self.alternate_flips and not self.flip:
            raise ConfigError("--alternate-flips is a way to flip: add --no-alternate-flips, or --flip")
        for flag, value in (("--mixup", self.mixup), ("--cutmix", self.cutmix)):
            if 0 < value < LEAST_ALPHA:
                raise ConfigError(f"{flag} is 0, which turns it off, or at least {LEAST_ALPHA}, not {value}")
        if self.center == "per-pixel":
            self._check_per_pixel()

    def _check_per_pixel(self) -> None:
        if self.is_streamed:
            raise ConfigError(
                f"--center per-pixel needs images in memory, and those of {self.dataset} are streamed and "
                "cropped at random: leave it out"
            )
        if self.mean:
            raise ConfigError(
                "--center per-pixel takes the mean of the training images: leave --mean out "
                "(--mean none --std none takes back a recipe's)"
            )
        if self.crop_padding and self.padding == "black":
            raise ConfigError(
                "--center per-pixel subtracts the mean before the crop: add --padding mean, as He et al. do, "
                "or reflect"
            )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer and length."""

    optimizer: Literal["sgd", "adam", "adamw", "muon"] = setting(
        "sgd",
        "Optimizer: sgd, adam and adamw are PyTorch's, the last two need a learning rate of about 0.001; "
        "muon makes the momentum of convolutions orthogonal and is sgd for all else.",
    )
    batch_size: int = setting(128, "Images per step, over all devices.", above=0, common=True)
    epochs: int = setting(
        200, "Passes over the training images; schedule and warm-up scale with them.", above=0, common=True
    )
    steps: int | None = setting(None, "Length in steps instead of epochs.", above=0, metavar="N")
    learning_rate: float = setting(0.1, "Peak learning rate.", above=0, common=True)
    scale_learning_rate: bool = setting(
        False, "Multiply the learning rate by batch size / 256 (Goyal et al. 2017, section 2.1)."
    )
    rates: tuple[str, ...] = setting(
        (),
        "Factors of the learning rate for some parameters, such as head=2 bias=64; names as in --freeze.",
        metavar="NAME=FACTOR",
    )
    freeze: tuple[str, ...] = setting(
        (),
        "Whole parts that keep their weights, and their BatchNorm statistics: stem stage1 ...; or blocks and "
        "parameters, whose statistics move: stage2_block1, scale, stem_conv/kernel.",
        metavar="NAME",
    )
    clip_norm: float = setting(
        0.0, "Largest L2 norm of the gradient, which is scaled down to it; 0 turns it off.", at_least=0
    )
    schedule: Literal["constant", "step", "linear", "cosine", "one-cycle"] = setting(
        "cosine", "Learning rate over the training."
    )
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75), "schedule=step: fractions of the training after which the rate falls.", above=0, below=1
    )
    factor: float = setting(0.1, "schedule=step: learning-rate factor at each milestone.", above=0, at_most=1)
    peak_at: float = setting(
        0.3, "schedule=one-cycle: fraction of the training at which the rate peaks.", above=0, below=1
    )
    warmup: float = setting(
        0.0,
        "Fraction of the training over which the rate rises linearly to the schedule.",
        at_least=0,
        below=1,
    )
    warmup_epochs: float | None = setting(None, "Warm-up in epochs instead of as a fraction.", at_least=0)
    warmup_error: float = setting(
        0.0,
        "Train at a tenth of the rate until the training error is below this fraction; 0 turns it off.",
        at_least=0,
        below=1,
    )
    momentum: float = setting(0.9, "Momentum of sgd and muon; beta1 of adam and adamw.", at_least=0, below=1)
    beta2: float = setting(0.999, "adam, adamw: decay of the mean squared gradient.", at_least=0, below=1)
    nesterov: bool = setting(False, "Use Nesterov momentum.")
    weight_decay: float = setting(
        5e-4,
        "sgd, adam: L2 penalty's coefficient; adamw: decoupled decay; muon: as sgd, not on convolutions.",
        at_least=0,
    )
    decays: tuple[str, ...] = setting(
        (),
        "Weight decay of some parameters instead of --weight-decay, such as head=0.01; names as in --freeze.",
        metavar="NAME=DECAY",
    )
    decay_all: bool = setting(True, "Decay biases and BatchNorm parameters too.")
    label_smoothing: float = setting(
        0.0, "Probability spread over all classes in the target.", at_least=0, below=1
    )
    on_nan: Literal["stop", "rollback"] = setting(
        "stop",
        "What a loss, gradient or parameter that is not finite does: stop the run; or rollback to the last "
        "checkpoint and go on at half the learning rate, three times at most.",
    )
    ema: float = setting(
        0.0,
        "Decay of a moving average of the weights, which is then evaluated and kept, such as 0.999.",
        at_least=0,
        below=1,
    )

    def check(self) -> None:
        """Checks settings that exclude each other.

        Raises:
            ConfigError: Naming the flags.
        """
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError("--milestones must ascend, such as --milestones 0.5 0.75")
        if self.nesterov and (self.optimizer not in ("sgd", "muon") or not self.momentum):
            raise ConfigError(
                "--nesterov is a form of the --momentum of sgd and muon: add --no-nesterov, or have both"
            )
        if self.decays and self.optimizer == "adamw":
            raise ConfigError(
                "--decays goes into the gradient, adamw's decay does not: add --decays none, or use another "
                "--optimizer"
            )
        self.rate_factors()
        self.decay_coefficients()

    def rate_factors(self) -> dict[str, float]:
        """What ``--rates`` says: from names to factors.

        Raises:
            ConfigError: It is not NAME=FACTOR with a finite factor of at least 0.
        """
        return _numbers_by_name("--rates", "NAME=FACTOR, such as head=2", self.rates)

    def decay_coefficients(self) -> dict[str, float]:
        """What ``--decays`` says: from names to coefficients of weight decay.

        Raises:
            ConfigError: It is not NAME=DECAY with a finite decay of at least 0.
        """
        return _numbers_by_name("--decays", "NAME=DECAY, such as head=0.01", self.decays)


def _numbers_by_name(flag: str, form: str, texts: Iterable[str]) -> dict[str, float]:
    """Reads NAME=NUMBER.

    Raises:
        ConfigError: A text has no name, that of another, or no finite number of at least 0.
    """
    numbers: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name in numbers:
            raise ConfigError(f"{flag} names {name} twice: give it once")
        try:
            numbers[name] = float(number)
        except ValueError:
            numbers[name] = math.nan
        if not name or not numbers[name] >= 0 or math.isinf(numbers[name]):
            raise ConfigError(f"{flag} takes {form}, not {text!r}")
    return numbers


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Run, records and checkpoints."""

    workdir: str | None = setting(
        None,
        "Run folder (default: runs/DATASET-ARCH-RECIPE-seedSEED).",
        may_change=True,
        common=True,
        metavar="FOLDER",
    )
    seed: int = setting(
        0, "Seed of initial weights, validation split, order and augmentation.", at_least=0, common=True
    )
    seeds: int = setting(
        1,
        "Number of runs, with --seed and the seeds that follow; the same command continues them.",
        at_least=1,
        at_most=10_000,
    )
    max_steps: int | None = setting(
        None,
        "Stop after this step without changing the schedule; --resume continues.",
        above=0,
        may_change=True,
        reported=True,
    )
    log_every: int = setting(50, "Training steps per metrics.jsonl record.", above=0, may_change=True)
    eval_batch_size: int = setting(
        500, "Images per step of evaluation; the metrics do not depend on it.", above=0, may_change=True
    )
    eval_every: int = setting(  # the best checkpoint is one that was validated
        1, "Epochs between validations.", above=0, may_change=True, reported=True
    )
    test_every: int = setting(
        0,
        "Epochs between evaluations on the test set for its curve alone; they choose nothing. 0 for none.",
        at_least=0,
        may_change=True,
    )
    checkpoint_minutes: float = setting(
        10.0, "Minutes between checkpoints, beside the one after every validation.", above=0, may_change=True
    )
    compilation_cache: str = setting(
        "auto",
        "Where compiled programs are kept for the next start: auto (the user's cache), off, or a folder.",
        may_change=True,
        metavar="FOLDER",
    )
    resume: bool = setting(
        False, "Continue the run in the folder from its newest checkpoint.", may_change=True, common=True
    )
    overwrite: bool = setting(False, "Delete the run in the folder first.", may_change=True, common=True)

    def check(self) -> None:
        """Checks settings that exclude each other.

        Raises:
            ConfigError: Naming the flags.
        """
        if self.resume and self.overwrite:
            raise ConfigError("--resume keeps the run and --overwrite deletes it: choose one")
        if (last := self.seed + self.seeds - 1) > LARGEST_SEED:
            raise ConfigError(f"seeds are at most {LARGEST_SEED:,}, not {last:,}: give a smaller --seed")
        if self.workdir is not None and "://" in self.workdir:
            raise ConfigError(f"--workdir {self.workdir} is a URL: name a folder of this machine")
        if not self.compilation_cache.strip() or "://" in self.compilation_cache:
            raise ConfigError(f"--compilation-cache is auto, off or a folder, not {self.compilation_cache!r}")


@dataclasses.dataclass(frozen=True)
class Config:
    """Recipe."""

    recipe: str = setting(
        "standard",
        "Named defaults for all other flags; --recipe list describes each.",
        common=True,
        metavar="NAME",
    )
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    parallel: ParallelConfig = dataclasses.field(default_factory=ParallelConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    @property
    def workdir(self) -> Path:
        """The run folder."""
        if self.run.workdir:
            return Path(self.run.workdir)
        name = f"{self.data.dataset}-{self.model.arch}-{self.recipe}-seed{self.run.seed}"
        return Path("runs") / name

    def check(self) -> None:
        """Finds settings that no run could use, before any data is read or anything is written.

        Raises:
            ConfigError: Naming the flag and a valid value.
        """
        self.check_without_jax()
        self._check_model()

    def check_without_jax(self) -> None:
        """The part of ``check`` that takes no time: everything but the network.

        Raises:
            ConfigError: Naming the flag and a valid value.
        """
        check_ranges(self)
        for group in (self.data, self.optim, self.parallel, self.run):
            group.check()
        if self.optim.batch_size == 1 and (self.data.mixup or self.data.cutmix):
            raise ConfigError("--mixup and --cutmix mix the images of a batch: --batch-size at least 2")
        if self.model.whiten and self.model.init_from:
            raise ConfigError(
                "--whiten makes the first convolution's weights and --init-from reads them: choose one"
            )

    def _check_model(self) -> None:
        from jax_resnet.models import create_model

        try:
            model = create_model(**self.model_arguments(num_classes=10))
        except ValueError as error:
            raise ConfigError(f"--arch {self.model.arch}: {error}") from None
        if self.parallel.remat and not hasattr(model, "remat"):
            raise ConfigError(f"--remat: {self.model.arch} has no stages to compute again")

    def model_arguments(self, num_classes: int) -> dict[str, Any]:
        """The arguments of ``create_model``, as JSON can hold them."""
        arguments: dict[str, Any] = {"name": self.model.arch, "num_classes": num_classes}
        if self.model.stem != "cifar":
            arguments["stem"] = self.model.stem
        if self.model.shortcut != "default":
            arguments["shortcut"] = self.model.shortcut
        if self.model.zero_init_residual:
            arguments["zero_init_residual"] = True
        if self.model.act is not None:
            arguments["act"] = self.model.act
        if self.model.dtype == "bf16":
            arguments["dtype"] = "bfloat16"
        if self.model.norm_momentum is not None:
            arguments["norm_momentum"] = self.model.norm_momentum
        if self.model.scan_layers:
            arguments["scan_layers"] = True
        if parts := self._frozen_parts(arguments):
            arguments["frozen"] = parts
        return arguments

    def _frozen_parts(self, arguments: dict[str, Any]) -> list[str]:
        """The parts of the network that ``--freeze`` names, whose BatchNorm statistics stay."""
        if not self.optim.freeze:
            return []
        from jax_resnet.models import create_model

        try:
            parts: Sequence[str] = getattr(create_model(**arguments), "parts", ())
        except ValueError:  # no such network, which another check reports
            return []
        return [part for part in parts if any(fnmatch.fnmatchcase(part, name) for name in self.optim.freeze)]

"""How much is tried, by the kind of device."""

import dataclasses

import jax

__all__ = ["Scale", "scale"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes that take a GPU or TPU seconds, or a CPU.

    Attributes:
        networks: Networks whose training is timed.
        batch_size: Images per training step.
        steps_per_dispatch: Steps that are run in one program.
        eval_batch_size: Images per evaluation step.
        turn_seconds: How long each case is timed.
        references: Golden references, the most telling first.
    """

    networks: tuple[str, ...]
    batch_size: int
    steps_per_dispatch: tuple[int, ...]
    eval_batch_size: int
    turn_seconds: float
    references: tuple[str, ...]


ACCELERATOR = Scale(
    networks=("resnet20", "resnet18"),
    batch_size=128,
    steps_per_dispatch=(1, 8, 32),
    eval_batch_size=1000,
    turn_seconds=1.5,
    references=(
        "akamaster_resnet20",
        "kuangliu_resnext29_2x64d",
        "seed_002_mnist_cnn",
        "kuangliu_preactresnet18",
        "torchvision_resnet50",
    ),
)
CPU = Scale(
    networks=("resnet8",),
    batch_size=16,
    steps_per_dispatch=(1, 2),
    eval_batch_size=32,
    turn_seconds=0.3,
    references=("seed_002_mnist_cnn", "akamaster_resnet20"),
)


def scale() -> Scale:
    """The sizes for JAX's default device."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR

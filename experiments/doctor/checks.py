"""All checks, in the order in which they run."""

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Check

__all__ = ["ALL", "checks_for"]

# Without jax first: they still answer where jax cannot be imported.
MACHINE = (
    Check("versions", "versions:versions"),
    Check("platform", "machine:platform_and_memory"),
    Check("disk", "machine:disk"),
    Check("devices", "devices:devices", seconds=120),
    Check("convolution", "convolution:convolution", seconds=420),  # it may have to be compiled
    Check("data", "data:data_sets", seconds=120),
    Check("self-test", "selftest:self_test", seconds=180),
)
RUN = (
    Check("run", "run_files:files"),
    Check("checkpoints", "run_checkpoints:checkpoints", seconds=120),
)
ACCELERATOR = (
    Check("versions", "versions:versions"),
    Check("platform", "machine:platform_and_memory"),
    Check("devices", "devices:devices", seconds=180),
    Check("programs", "accelerator.lowering:programs", seconds=120),
    Check("references", "accelerator.references:references", seconds=240),
    Check("checkpoint", "accelerator.checkpoint:carried", seconds=240),
    Check("speed", "accelerator.speed:speed", seconds=240),
    Check("pytorch", "accelerator.rivals:beside_pytorch", seconds=420, alone=True),
)

ALL = {check.name: check for check in (*MACHINE, *RUN, *ACCELERATOR)}


def checks_for(config: DoctorConfig) -> tuple[Check, ...]:
    """The checks that the flags ask for."""
    if config.run:
        return RUN
    return ACCELERATOR if config.accelerator else MACHINE

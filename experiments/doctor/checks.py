"""All checks, in the order in which they run."""

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Check

__all__ = ["ACCELERATOR", "MACHINE", "RUN", "checks_for"]

# Without jax first: they still answer where jax cannot be imported.
MACHINE = (
    Check("versions", "experiments.doctor.versions:versions"),
    Check("platform", "experiments.doctor.machine:platform_and_memory"),
    Check("disk", "experiments.doctor.machine:disk"),
    Check("devices", "experiments.doctor.devices:devices", seconds=120),
    Check(
        "convolution", "experiments.doctor.convolution:convolution", seconds=420
    ),  # it may have to be compiled
    Check("data", "experiments.doctor.data:data_sets", seconds=120),
    Check("self-test", "experiments.doctor.selftest:self_test", seconds=180),
)
RUN = (
    Check("run", "experiments.doctor.run_files:files"),
    Check("checkpoints", "experiments.doctor.run_checkpoints:checkpoints", seconds=120),
)
ACCELERATOR = (
    Check("versions", "experiments.doctor.versions:versions"),
    Check("platform", "experiments.doctor.machine:platform_and_memory"),
    Check("devices", "experiments.doctor.devices:devices", seconds=180),
    Check("programs", "experiments.doctor.accelerator.lowering:programs", seconds=120),
    Check("references", "experiments.doctor.accelerator.references:references", seconds=240),
    Check("checkpoint", "experiments.doctor.accelerator.checkpoint:carried", seconds=240),
    Check("speed", "experiments.doctor.accelerator.speed:speed", seconds=240),
    Check("pytorch", "experiments.doctor.accelerator.rivals:beside_pytorch", seconds=420, alone=True),
)


def checks_for(config: DoctorConfig) -> tuple[Check, ...]:
    """The checks that the flags ask for."""
    if config.run:
        return RUN
    return ACCELERATOR if config.accelerator else MACHINE

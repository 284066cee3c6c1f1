"""A run that goes on with another number of devices each time."""

import shutil

import numpy as np

from tests.torture.common import FLAGS, Programs, Row, count, expect, expect_whole, records

# Gentle, so that rounding, which differs between numbers of devices, stays small.
GENTLE = ("--epochs", "2", "--learning-rate", "0.005")
COUNTS = ((1, 2, 4), (4, 1, 2), (2, 8, 1), (8, 4, 2))


def devices(programs: Programs, tries: int) -> list[Row]:
    """A try per sequence of device counts: the losses of one device, but for rounding."""
    reference = programs.folder / "reference-devices"
    programs.train(reference, *FLAGS, *GENTLE, "--max-steps", "24")

    def case(sequence):
        workdir = programs.folder / "devices"
        try:
            for part, number in enumerate(sequence, 1):
                flags = ["--resume"] if part > 1 else [*FLAGS, *GENTLE]
                forced = f"--xla_force_host_platform_device_count={number}"
                programs.train(workdir, *flags, "--max-steps", 8 * part, XLA_FLAGS=forced)
            one, other = records(workdir, "train"), records(reference, "train")
            expect([r["step"] for r in one] == [r["step"] for r in other], "steps are missing or twice")
            losses = ([r["loss"] for r in found] for found in (one, other))
            expect(np.allclose(*losses, rtol=1e-2), f"other losses with {sequence} devices")
            expect_whole(workdir)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    cases = [lambda sequence=sequence: case(sequence) for sequence in COUNTS[:tries]]
    return [
        count("resumed on other numbers of devices", cases, "1, 2, 4, 8 forced CPU devices; losses to 1%")
    ]

"""The flags of the doctor."""

import dataclasses

from experiments.program.errors import ConfigError
from experiments.settings.fields import check_ranges, setting

__all__ = ["DoctorConfig"]


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """What to look at."""

    run: str = setting("", "Run folder to look at, instead of this machine.", positional=True, metavar="RUN")
    accelerator: bool = setting(
        False, "Check and time what only a GPU or TPU can show; takes a few minutes.", common=True
    )
    json: bool = setting(False, "Print JSON instead of text.", common=True)
    data_dir: str | None = setting(
        None, "Where data sets are kept (default: TFDS's folder).", common=True, metavar="FOLDER"
    )
    seconds: float = setting(
        180.0, "accelerator: time to spend; what does not fit is left out, and named.", above=0
    )

    def check(self) -> None:
        """Checks the flags.

        Raises:
            ConfigError: A value or combination is invalid.
        """
        check_ranges(self)
        for name, value in (("RUN", self.run), ("--data-dir", self.data_dir or "")):
            if "\0" in value:
                raise ConfigError(f"{name} has a NUL character, which no name can have")
        if self.run and self.accelerator:
            raise ConfigError("a run folder and --accelerator are looked at one after the other: choose one")

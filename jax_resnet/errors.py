"""The errors of this library, under one base class."""

__all__ = [
    "AugmentError",
    "BatchSizeError",
    "CheckpointError",
    "DataError",
    "DatasetNameError",
    "ExportError",
    "JaxResnetError",
    "ModelError",
    "TrainError",
    "ValSizeError",
    "WeightsError",
]


class JaxResnetError(Exception):
    """Base class of this library's errors; the message says in one line what is wrong and what is right."""


class DataError(JaxResnetError):
    """Data that is missing, damaged or of the wrong kind.

    Attributes:
        reason: One short sentence: the message itself, or what a message of several lines says first.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class DatasetNameError(DataError, ValueError):
    """An unknown name of a data set."""


class AugmentError(JaxResnetError, ValueError):
    """Images or options that an augmentation cannot take."""


class CheckpointError(JaxResnetError):
    """A checkpoint that is missing or cannot be read."""


class WeightsError(JaxResnetError, ValueError):
    """Weights that do not fit a network, or a weights file that cannot be read."""


class ModelError(JaxResnetError, ValueError):
    """An unknown network, options that a network cannot have, or images that it cannot take."""


class BatchSizeError(JaxResnetError, ValueError):
    """A batch size that the data or the processes do not allow.

    Attributes:
        batch_size: The batch size that was asked for.
    """

    def __init__(self, message: str, *, batch_size: int = 0) -> None:  # the default is for pickle
        super().__init__(message)
        self.batch_size = batch_size


class ValSizeError(JaxResnetError, ValueError):
    """A validation set that cannot be held out.

    Attributes:
        size: The number of examples that was asked for.
    """

    def __init__(self, message: str, *, size: int = 0) -> None:  # the default is for pickle
        super().__init__(message)
        self.size = size


class TrainError(JaxResnetError, ValueError):
    """A batch or an option that a step, an optimizer or a schedule cannot take."""


class ExportError(JaxResnetError, ValueError):
    """A network that cannot be exported, or an argument that an export cannot have."""

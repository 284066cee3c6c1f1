"""Every error of this library, under one base class."""


class JaxResnetError(Exception):
    """Base class of this library's errors; the message says in one line what is wrong and what is right."""


class DataError(JaxResnetError):
    """Data that is missing, damaged or of the wrong kind."""


class CheckpointError(JaxResnetError):
    """A checkpoint that is missing or cannot be read."""


class WeightsError(JaxResnetError, ValueError):
    """Weights that do not fit a network, or a weights file that cannot be read."""


class ModelError(JaxResnetError, ValueError):
    """An unknown network, or options that a network cannot have."""

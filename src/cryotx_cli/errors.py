"""Errors a user can repair. Programming mistakes stay ``ValueError`` and ``TypeError``."""


class CryotxError(Exception):
    """Something the user can put right.

    Parameters
    ----------
    message
        Which file or setting, what is wrong and what was found.
    hint
        What to do about it; printed on a line of its own.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CryotxError):
    """A setting that cannot be used."""


class MicrographError(CryotxError):
    """A micrograph that cannot be read or cannot be picked."""


class ParticleFileError(CryotxError):
    """A coordinate file that cannot be read or written."""


class NoCoordinatesError(ParticleFileError):
    """A file without coordinates of particles: of another kind, or one for another program's own affairs."""


class DatasetError(CryotxError):
    """A training or validation data set that cannot be used."""


class CheckpointError(CryotxError):
    """A file of weights that cannot be used."""


class DeviceError(CryotxError):
    """A compute device that is not there or does not suffice."""

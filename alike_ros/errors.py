"""Errors of the package: each message says what is wrong and what to do about it."""


class AlikeError(Exception):
    """Base of every error that wrong use of this package raises."""


class ConfigError(AlikeError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class ModelError(AlikeError):
    """A model file, or the provider that should run it, cannot be used."""


class CompileError(ModelError):
    """Code that numba should compile for this processor cannot be used."""


class DataError(AlikeError):
    """Input data are missing, unreadable or of the wrong shape."""

"""The version of this package, on the lowest floor so that every module may name it."""

__version__ = "0.2.0"

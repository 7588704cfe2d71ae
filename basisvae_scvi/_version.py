"""The one place that knows the version (read by the build, the command line and ``uns``)."""

__version__ = "0.1.0"

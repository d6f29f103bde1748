"""Which motedet this is."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The installed version; "unknown" for a source tree that is not installed."""
    try:
        return version("motedet")
    except PackageNotFoundError:
        return "unknown"

"""Refuses to be imported beside a distribution that claims the same import name; knows nothing else of holdover."""

from importlib.metadata import PackageNotFoundError, distribution

CLAIMED_BY = {"events": "Events", "statemachine": "python-statemachine"}
"""Import name to the other distribution on the package index that installs it too."""


def refuse_neighbours() -> None:
    """Raise `ImportError` when a distribution that shares an import name with holdover is installed beside it.

    Two distributions that install one import name overwrite each other's files, and what is then imported is a
    mixture of both. An early error that names the culprit is cheaper than the puzzle that follows.

    Raises:
        ImportError: names the other distribution, the import name, and what to do.

    Example:
        >>> refuse_neighbours()  # silent where holdover has the names to itself
    """
    for import_name, distribution_name in CLAIMED_BY.items():
        try:
            version = distribution(distribution_name).version
        except PackageNotFoundError:
            continue
        raise ImportError(
            f"holdover cannot be imported: the distribution {distribution_name} {version} is installed in the same "
            f"environment and brings an import package `{import_name}` too, so the two overwrite each other. "
            f"Remove it (pip uninstall {distribution_name}), reinstall holdover, or keep them in separate "
            f"virtual environments."
        )

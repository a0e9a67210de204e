"""Where `holdover` and `python -m statemachine` begin; says what to install where something is missing."""

import sys


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: with the command's exit code; 2 where the extra `cli` is not installed.
    """
    try:
        from statemachine.cli import holdover
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(f"holdover: needs {error.name}; install it with: pip install 'holdover[cli]'", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    holdover(prog_name="holdover")


if __name__ == "__main__":
    main()

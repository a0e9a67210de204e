"""Where the command line begins."""

import runpy
import subprocess
import sys

import pytest

from statemachine.__main__ import main


class Hiding:
    """Makes a module look as if it were not installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code of `holdover` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["holdover", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """`holdover --help` and `-h` list the commands."""
    assert run(monkeypatch, option) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: holdover ")
    for command in ("replay", "demo", "diagram", "sample"):
        assert f"\n  {command} " in shown


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`holdover --version` tells it."""
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("holdover, version ")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """Where click or rich is not installed: one line, exit code 2, no traceback."""
    for name in [name for name in sys.modules if name.startswith(("statemachine.cli", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hiding(missing), *sys.meta_path])
    assert run(monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"holdover: needs {missing}; install it with: pip install 'holdover[cli]'"


def test_another_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of holdover's own that is missing is a broken installation, and shows as one."""
    monkeypatch.setitem(sys.modules, "statemachine.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"statemachine\.cli"):
        main()


def test_python_m_statemachine_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run as a module it begins at once."""
    monkeypatch.delitem(sys.modules, "statemachine.__main__")
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("statemachine", run_name="__main__")
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("holdover, version ")


def test_python_m_statemachine() -> None:
    """`python -m statemachine` is the same command."""
    done = subprocess.run([sys.executable, "-m", "statemachine", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: holdover ")
    assert done.stderr == ""

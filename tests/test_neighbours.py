"""Beside another distribution that claims its import names, holdover refuses to be imported, and says what to do."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import statemachine
from events._neighbours import CLAIMED_BY, refuse_neighbours


def install(folder: Path, name: str, version: str) -> None:
    """Make a folder look as if a distribution were installed in it."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def imported(module: str, folder: Path) -> str:
    """Import a module with the folder in front of all others; the last line of what that says."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); import {module}; print('imported')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, check=False)
    assert run.returncode == (0 if run.stdout == "imported\n" else 1), run.stderr
    return (run.stdout or run.stderr).splitlines()[-1]


@pytest.mark.parametrize("module", ["statemachine", "events"])
@pytest.mark.parametrize(("name", "version"), [("python-statemachine", "2.5"), ("Events", "0.5")])
def test_an_import_beside_a_neighbour_names_it_and_the_remedy(
    tmp_path: Path, module: str, name: str, version: str
) -> None:
    """The error comes at once, and not from somewhere in a mixture of both."""
    install(tmp_path, name, version)
    said = imported(module, tmp_path)
    assert said.startswith("ImportError: holdover cannot be imported")
    assert f"{name} {version}" in said
    assert f"pip uninstall {name}" in said


def test_a_strangers_events_package_in_front_of_ours_is_named(tmp_path: Path) -> None:
    """Where the other's files hide ours, the usual culprit is named too."""
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "__init__.py").write_text("class Events: ...\n")
    said = imported("statemachine", tmp_path)
    assert said.startswith("ImportError: holdover cannot be imported")
    assert "pip uninstall Events" in said


@pytest.mark.parametrize("module", ["statemachine", "events"])
def test_other_distributions_do_no_harm(tmp_path: Path, module: str) -> None:
    """A neighbour with a similar name, but another import name, is none."""
    install(tmp_path, "statemachines", "1.0")
    assert imported(module, tmp_path) == "imported"


@pytest.mark.parametrize("name", CLAIMED_BY.values())
def test_refuse_neighbours_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The check itself, in this process: silent alone, an error beside a neighbour."""
    refuse_neighbours()
    install(tmp_path, name, "9.9")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=f"the distribution {name} 9.9 is installed"):
        refuse_neighbours()


def test_a_hidden_events_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same within this process: what `statemachine` says when `events` is a stranger's."""
    source = Path(statemachine.__file__)
    monkeypatch.setitem(sys.modules, "events", types.ModuleType("events"))
    monkeypatch.delitem(sys.modules, "events._neighbours")
    with pytest.raises(ImportError, match="The usual culprit is the distribution Events"):
        exec(compile(source.read_text(encoding="utf-8"), source, "exec"), {"__name__": "statemachine"})

"""`holdover diagram`: writes the diagrams, checks them, and says in one line what is wrong with what it was given."""

import sys
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

import statemachine
from statemachine import BUFFER_LIFECYCLE
from statemachine.cli._diagram import diagram

ROOT = Path(__file__).parents[1]
NAMES = ["measurement_buffer.md", "measurement_buffer.dot", "measurement_buffer.svg"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory; what a command adds to the import path is taken back."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(diagram, list(arguments), prog_name="diagram")


def test_command_writes_then_finds_all_current(folder: Path) -> None:
    """`holdover diagram` lists what it wrote, and the next time says that all is current; so does `--check`."""
    result = run()
    assert (result.exit_code, result.output.split()[1::2]) == (0, [str(Path("diagrams", name)) for name in NAMES])
    assert sorted(path.name for path in (folder / "diagrams").iterdir()) == sorted(NAMES)
    for arguments in ([], ["--check"]):
        result = run(*arguments)
        assert (result.exit_code, result.output) == (
            0,
            "The diagrams of the measurement buffer in diagrams are current.\n",
        )


def test_check_fails_on_a_changed_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one changed target state, `--check` exits with 1, shows what differs and says how to renew it."""
    monkeypatch.chdir(ROOT)
    rows = [
        evolve(row, target="snapshotting") if row.trigger == "finish_abort" else row
        for row in BUFFER_LIFECYCLE.transitions
    ]
    monkeypatch.setattr(statemachine, "BUFFER_LIFECYCLE", evolve(BUFFER_LIFECYCLE, transitions=tuple(rows)))
    result = run("--check")
    assert result.exit_code == 1
    assert "+    aborting --> snapshotting: finish_abort" in result.output
    assert all(f"{Path('diagrams', name)} differs from the declaration" in result.output for name in NAMES)
    assert result.output.endswith("\nRenew with: holdover diagram\n")


def test_check_writes_nothing(folder: Path) -> None:
    """`--check` only looks; the command it names for renewing has the same options."""
    result = run("--check", "--output", "my pictures")
    assert result.exit_code == 1
    assert result.output.endswith("\nRenew with: holdover diagram --output 'my pictures'\n")
    assert list(folder.iterdir()) == []


def test_lifecycle_of_ones_own(folder: Path) -> None:
    """`--lifecycle MODULE:NAME` draws a lifecycle from a module in the current directory, nested names included."""
    source = (ROOT / "examples" / "firmware_update.py").read_text(encoding="utf-8")
    (folder / "a_device.py").write_text(f"{source}\n\nclass Device:\n    update = FIRMWARE_UPDATE\n", encoding="utf-8")
    for name in ("a_device:FIRMWARE_UPDATE", "a_device:Device.update"):
        assert run("--check", "--lifecycle", name).output.endswith(f"Renew with: holdover diagram --lifecycle {name}\n")
    assert sys.path.count(str(folder)) == 1
    assert run("--lifecycle", "a_device:FIRMWARE_UPDATE", "--output", "out").exit_code == 0
    assert (folder / "out" / "firmware_update.svg").exists()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("statemachine", "must be MODULE:NAME"),
        (":NAME", "must be MODULE:NAME"),
        ("no_such_module:NAME", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("statemachine:NO_SUCH_NAME", "AttributeError: module 'statemachine' has no attribute 'NO_SUCH_NAME'"),
        ("statemachine:Lifecycle", "is a type, not a Lifecycle"),
        ("raises:NAME", "ValueError: a message of two lines"),
        ("exits:NAME", "SystemExit: 3"),
    ],
)
def test_bad_lifecycle_is_one_line(folder: Path, name: str, complaint: str) -> None:
    """What is no lifecycle gets one line that says why, exit code 2 and no traceback; nothing is written."""
    (folder / "raises.py").write_text("raise ValueError('a message\\nof two lines')", encoding="utf-8")
    (folder / "exits.py").write_text("raise SystemExit(3)", encoding="utf-8")
    result = run("--lifecycle", name)
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: --lifecycle '{name}': {complaint}")
    assert result.output.count("\n") == 1
    assert not (folder / "diagrams").exists()


def test_folder_that_cannot_be_written_is_one_line(folder: Path) -> None:
    """A file in the place of the folder gets one line and exit code 2."""
    (folder / "taken").write_text("mine", encoding="utf-8")
    result = run("--output", "taken")
    assert (result.exit_code, result.output) == (2, "Error: --output 'taken': taken: File exists\n")
    assert (folder / "taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("arguments", [[], ["--check"]], ids=["write", "check"])
def test_command_without_pygraphviz_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Without the extra, the command says in one line what to install, exits with 2, and writes nothing."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "pip install 'holdover[diagrams]'" in result.output
    assert list(folder.iterdir()) == []

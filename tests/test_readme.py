"""The README is true: its code runs, the tests it names exist, and so do its commands."""

import re
from pathlib import Path

import postgres
import pytest
from click.testing import CliRunner

from statemachine.cli import holdover

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_its_code_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python snippet runs as it stands, but for a server's address."""
    monkeypatch.chdir(tmp_path)
    if "PostgresLog" in snippet:
        schema = postgres.new_schema()
        address = postgres.address(f"options=-csearch_path%3D{schema}")
        snippet = re.sub(r'"postgresql://.*?"', repr(address), snippet).replace('"holdover"', repr(schema))
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(snippet, "README.md", "exec"), names)
    assert len(names) > 2


def test_the_commands_it_names_exist() -> None:
    """`holdover ...` and `make ...` as shown are there."""
    commands = set(
        re.findall(r"holdover (replay|demo|diagram|sample|\w+)\b", "\n".join(re.findall(r"`(holdover .*?)`", README)))
    )
    assert commands == set(holdover.commands)
    for target in set(re.findall(r"\bmake (\w+)", " ".join(re.findall(r"`+(?:sh\n)?(.*?)`+", README, re.DOTALL)))):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_its_shell_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's example does what it says, and loses nothing."""
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"^holdover (replay .*)$", README, re.MULTILINE)
    result = CliRunner().invoke(holdover, example.split())
    assert result.exit_code == 0, result.output
    assert result.output.rstrip().endswith("added 2000 = replayed 2000 + live 0 + evicted 0, lost 0")


def test_its_links_lead_somewhere() -> None:
    """Files that it links to exist."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / link).exists()] == []

"""The examples run as the scripts they are, and print what they promise."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed_by(name: str) -> str:
    return subprocess.run(
        [sys.executable, EXAMPLES / name], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


def test_firmware_update() -> None:
    """The generic part serves another machine: declared, folded from a log, illegal triggers refused, drawn."""
    printed = printed_by("firmware_update.py")
    assert "0  DownloadStarted(release='2.1')\n1  DownloadVerified()\n" in printed
    assert "The device is installing. Legal now: finish_install, give_up.\n" in printed
    assert "Refused: cannot retire while installing; legal now: finish_install, give_up.\n" in printed
    assert "    downloading --> installing: verify_download / DownloadVerified<br/>[the checksum is right]\n" in printed

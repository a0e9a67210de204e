"""Fuzzing guided by coverage, for as long as one likes (`make fuzz`). Needs atheris. Must not know what is allowed.

`python tests/proof/fuzz.py decoding -max_total_time=300 DIRECTORY` goes on from the inputs in the directory, and adds
to them whatever gets further. Each new way of going wrong is told once, with its input, for a regression test.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["events", "statemachine.cli", "csv", "_strptime"]):
    import hostile
    import hostile_samples

    import statemachine.cli  # noqa: F401 - which hostile imports only when it needs it

SEEDS = {"decoding": hostile_samples.ENCODED, "reading": hostile_samples.TABLE_BYTES}


def main(target: str, *options: str) -> None:
    """Fuzz until the time is up."""
    corpus = Path(options[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    seen: set[str] = set()

    def one(data: bytes) -> None:
        for word in getattr(hostile, target)(data):
            if word.startswith("BAD") and word not in seen:
                seen.add(word)
                print(f"{word}\n    {hostile.shown(data)}", flush=True)  # noqa: T201

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

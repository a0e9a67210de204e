"""The command line. Nothing else imports it; it needs the extra `cli`."""

import click

from statemachine.cli._demo import demo
from statemachine.cli._diagram import diagram
from statemachine.cli._replay import replay
from statemachine.cli._sample import sample


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdover")
def holdover() -> None:
    """Replay per-user measurements without losing what arrives meanwhile."""


for command in (replay, demo, diagram, sample):
    holdover.add_command(command)

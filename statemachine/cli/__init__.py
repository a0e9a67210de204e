"""The command line. Nothing else imports it; it needs the extra `cli`."""

import click

from statemachine.cli._audit import audit
from statemachine.cli._command import OneLineGroup
from statemachine.cli._copy import copy
from statemachine.cli._demo import demo
from statemachine.cli._diagram import diagram
from statemachine.cli._log import log
from statemachine.cli._replay import replay
from statemachine.cli._sample import sample
from statemachine.cli._state import state


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdover")
def holdover() -> None:
    """Replay per-user measurements without losing what arrives meanwhile."""


for command in (replay, log, state, audit, copy, demo, diagram, sample):
    holdover.add_command(command)

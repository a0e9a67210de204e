"""A device's firmware update as a lifecycle of its own: declared, folded from a log, obeyed, drawn. Knows no buffer."""

from attrs import frozen

from events import Event, MemoryLog
from statemachine import IllegalTriggerError, Lifecycle, Transition, diagrams


@frozen
class DownloadStarted(Event):
    """A new release is on its way to the device."""

    release: str


@frozen
class DownloadVerified(Event):
    """It arrived whole."""


@frozen
class UpdateInstalled(Event):
    """The device runs it."""


@frozen
class UpdateFailed(Event):
    """The device runs the old release, for the given reason."""

    reason: str


@frozen
class DeviceRetired(Event):
    """The device gets no more updates."""


# fmt: off
FIRMWARE_UPDATE = Lifecycle(
    name="firmware update",
    states=("running", "downloading", "installing", "retired"),
    initial="running",
    final=("retired",),
    transitions=(
        #          state                          trigger            event             target
        Transition("running",                     "start_download",  DownloadStarted,  "downloading"),
        Transition("downloading",                 "verify_download", DownloadVerified, "installing"),
        Transition("installing",                  "finish_install",  UpdateInstalled,  "running"),
        Transition(("downloading", "installing"), "give_up",         UpdateFailed,     "running"),
        Transition("running",                     "retire",          DeviceRetired,    "retired"),
    ),
    guards={"verify_download": "the checksum is right"},
    effects={"give_up": "the old release stays"},
)
# fmt: on


def main() -> None:
    """Update a device, ask for what is not allowed meanwhile, and draw the lifecycle."""
    log: MemoryLog[None] = MemoryLog()
    log.append("thermostat-7", [DownloadStarted("2.1"), DownloadVerified()], expected_head=0)
    for recorded in log.read("thermostat-7"):
        print(f"{recorded.offset}  {recorded.event}")

    state = FIRMWARE_UPDATE.fold(log.read("thermostat-7"))
    print(f"\nThe device is {state}. Legal now: {', '.join(FIRMWARE_UPDATE.legal(state))}.")
    try:
        FIRMWARE_UPDATE.target(state, "retire")
    except IllegalTriggerError as error:
        print(f"Refused: {error}.")

    print(f"\n{diagrams.mermaid(FIRMWARE_UPDATE)}", end="")


if __name__ == "__main__":
    main()

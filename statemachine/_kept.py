"""What of this package a durable log keeps: states at checkpoints, and who gave a grant. Knows no log."""

from events import Schema
from statemachine._config import BufferConfig
from statemachine._state import BufferState
from statemachine.due import Age, AllOf, AnyOf, Count

KEPT = (
    Schema(BufferState, _strict=True),
    Schema(BufferConfig),
    Schema(Count),
    Schema(Age),
    Schema(AllOf, dump=lambda policy: policy.policies, load=lambda policies: AllOf(*policies)),
    Schema(AnyOf, dump=lambda policy: policy.policies, load=lambda policies: AnyOf(*policies)),
)
"""A change of one of these classes' fields needs a new version, and an upcaster from the old one."""

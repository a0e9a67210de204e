"""The drop-in for applications with the older dict-based buffer: its interface, on the core.

Change one import, `from statemachine.compat import ReplayBuffer`, and what arrives during a replay is no longer wiped.
"""

from statemachine.compat._buffer import ReplayBuffer

__all__ = ["ReplayBuffer"]

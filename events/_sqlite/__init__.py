"""`SqliteLog` and its parts: streams in one file, for several processes. Must not know what events mean."""

from events._sqlite._log import Durability, SqliteLog

__all__ = ["Durability", "SqliteLog"]

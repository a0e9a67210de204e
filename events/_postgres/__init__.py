"""Streams in PostgreSQL. `PostgresLog` is the face; the modules beside it are its parts."""

from events._postgres._log import PostgresLog

__all__ = ["PostgresLog"]

"""Bugs by name in what keeps the events: truncation, transactions, the log in memory and the log in a file.

The same table as in named_bugs.py.
"""

from named_bugs import IN_A_FILE, TWO_OPENINGS, Bug

MEMORY = "events._memory"
TAIL = "events._tail"
JOURNAL = "statemachine._journal"
APPENDING = "events._sqlite._appending"
ADDING = "events._sqlite._adding"
TRANSACTIONS = "events._sqlite._transactions:Transactions"

# fmt: off
LOG_BUGS = (
    # Rule 11: a completion within a transaction happens together with the rest of that, or not at all.
    Bug("a completion within a transaction commits by itself", 11, "events._sqlite._joined:Transaction.do",
        "return result", "self._connection.commit()\n        return result", IN_A_FILE),
    Bug("a late replay completes within a transaction", 11, "statemachine._buffer:ReplayBuffer._complete_within",
        "if state.is_overdue(now):", "if False:", IN_A_FILE, only_long=True),

    # Rule 12: offsets are never used again, nothing live is dropped, a checkpoint stands at the start.
    Bug("offsets are used again after truncation", 12, f"{TAIL}:Tail.drop",
        "self.start = before", "self.start = before - 1"),
    Bug("history is truncated past what is live", 12, f"{JOURNAL}:Journal._truncate",
        "oldest = after.oldest", "oldest = after.head"),
    Bug("history is pruned past what is live", 12, "statemachine._pruning:Pruning._prune",
        "state.oldest", "state.head", only_long=True),
    Bug("the checkpoint that evictions leave is one off", 12, f"{MEMORY}:MemoryLog.checkpoint",
        "state_at(start)", "state_at(start - 1)", only_long=True),
    Bug("truncation drops one too many", 12, f"{TAIL}:Tail.drop",
        "self.items[dropped:]", "self.items[dropped + 1 :]"),
    Bug("truncation drops the first event that is kept", 12, f"{APPENDING}:Truncate.do",
        """'DELETE FROM holdover_events WHERE stream = ? AND "offset" < ?'""",
        """'DELETE FROM holdover_events WHERE stream = ? AND "offset" <= ?'""", IN_A_FILE, only_long=True),
    Bug("where all is truncated offsets begin at 0 again", 12, "events._sqlite._rows:_FIND",
        "{_HEAD}", "{_HEAD.replace(', start)', ', 0)')}", IN_A_FILE, only_long=True),

    # Rule 13: each log keeps what it is given, whoever has opened it.
    Bug("a batch of which a part fits is added", 13, f"{MEMORY}:MemoryLog.add_many",
        "first + len(batch) <= tail.full_at", "first < tail.full_at", only_long=True),
    Bug("a batch tells another offset", 13, f"{MEMORY}:MemoryLog.add_many",
        "return tail.start + first", "return tail.start + first + 1", only_long=True),
    Bug("within a grant the second oldest is evicted", 13, f"{TAIL}:Eviction.at",
        "(offset - self.offset) // 2", "(offset - self.offset) // 2 + 1"),
    Bug("a file forgets deadlines", 13, f"{APPENDING}:Append._grant",
        "real(grant.until), real(grant.due_after)", "None, real(grant.due_after)", IN_A_FILE, only_long=True),
    Bug("a file forgets who is due", 13, f"{APPENDING}:Append._grant",
        "set_due(writing, stream, grant.due_at)", "set_due(writing, stream, None)", IN_A_FILE, only_long=True),
    Bug("a file forgets who is parked", 13, f"{APPENDING}:Append._grant",
        "elif stream.shelved_since is None:", "elif False:", IN_A_FILE, only_long=True),
    Bug("a file forgets when the first arrived", 13, f"{ADDING}:Add.do",
        "stream.arrived_at, stream.full_at, stream.opens_to = float(now),",
        "stream.arrived_at, stream.full_at, stream.opens_to = None,", IN_A_FILE),
    Bug("a file evicts the second oldest", 13, "events._sqlite._rows:Stream.victim",
        "(self.head - self.granted_from) // 2", "(self.head - self.granted_from) // 2 + 1", IN_A_FILE),
    Bug("adds to a file go on past the deadline", 13, f"{TRANSACTIONS}.add_alone",
        "if stream.until is not None and", "if False and", IN_A_FILE, only_long=True),
    Bug("a file ignores the expected head", 13, f"{APPENDING}:Append.do",
        "if head != self.expected_head:", "if False:", IN_A_FILE, only_long=True),
    Bug("what another opening has written is not noticed", 13, f"{TRANSACTIONS}._forget_if_written",
        "if seen != self._seen:", "if self._seen is None:", TWO_OPENINGS),
    Bug("an add that another opening was faster than is told as recorded", 13, f"{TRANSACTIONS}.add_alone",
        "# another process has written to the stream\n                    return None",
        "# another process has written to the stream\n                    return offset", TWO_OPENINGS, only_long=True),
)
# fmt: on

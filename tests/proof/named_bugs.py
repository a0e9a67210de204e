"""Bugs by name: what somebody might get wrong, as a change of the real code. Must not know how a bug is put in.

A row: the bug in the user's words, the rule of the design that it breaks, where it is, what stands there, what the bug
puts in its place, and how it is caught. Each must be caught by the specification, held against a log in memory, unless
it says otherwise.
"""

from attrs import frozen

IN_MEMORY, IN_A_FILE, TWO_OPENINGS = "a log in memory", "a file", "two openings of a file"


@frozen
class Bug:
    """A row of the list.

    Attributes:
        name: what goes wrong, in the user's words.
        rule: the number of the rule that it breaks.
        where: `"module:function"`, `"module:Class.method"` or `"module:CONSTANT"`.
        old: what stands there, exactly once.
        new: what the bug puts in its place.
        against: what the specification has to be held against to catch it.
        only_long: whether it takes too many histories for `make test`.
    """

    name: str
    rule: int
    where: str
    old: str
    new: str
    against: str = IN_MEMORY
    only_long: bool = False


DECIDE = "statemachine._decide"
STATE = "statemachine._state"
GRANT = "statemachine._grant"
JOURNAL = "statemachine._journal"
LIFECYCLE = "statemachine._declaration:BUFFER_LIFECYCLE"
SHELL = "statemachine._shell:Shell"
BUFFER = "statemachine._buffer:ReplayBuffer"
SNAPSHOT = "statemachine._snapshot:FrozenSnapshot"
ROLLBACKS = "statemachine._rollbacks:Rollbacks"

# fmt: off
BUGS = (
    # Rules 1 and 2: a state is a fold, and nothing else; a refused command does nothing.
    Bug("a checkpoint is taken one offset off", 1, f"{JOURNAL}:Journal._truncate",
        "state = self._folded(user_id, oldest)", "state = self._folded(user_id, oldest - 1)"),
    Bug("the checkpoint among what was just recorded is one off", 1, f"{JOURNAL}:Journal._truncate",
        "events[: oldest - before.head]", "events[: oldest - before.head + 1]", only_long=True),
    Bug("the arrival of a batch is forgotten on reopening", 1, f"{JOURNAL}:_after",
        " or event.arrived_at is not None", "", only_long=True),
    Bug("what another process has recorded is not seen", 1, f"{JOURNAL}:Journal._current",
        "anchor.state.head == position.granted_from", "anchor.state.head <= position.granted_from", only_long=True),
    Bug("the fold looks at the clock", 2, f"{STATE}:evolve",
        "new.timestamp, new.deadline = version, timestamp, deadline",
        "new.timestamp, new.deadline = version, timestamp, __import__('time').monotonic()"),
    Bug("an add that is refused evicts all the same", 2, f"{SHELL}._record",
        "error.user_id = user_id",
        "error.user_id = user_id\n            if isinstance(error, BufferFullError):\n"
        "                self._journal.record(user_id, EvictOldest(1))"),

    # Rule 3: the freeze point is the begin.
    Bug("it is frozen at finalize and not at begin", 3, f"{STATE}:evolve",
        "            new.deadline = deadline", "            new.deadline, new.frozen_offset = deadline, here"),
    Bug("a snapshot object reads what is live and not what is frozen", 3, f"{BUFFER}._frozen",
        "offsets=state.frozen_offsets", "offsets=state.offsets"),
    Bug("a snapshot object says that it ends at the head", 3, f"{BUFFER}._frozen",
        "stop=state.frozen_offset", "stop=state.head"),
    Bug("the application's timestamp is forgotten", 3, f"{STATE}:evolve",
        "= version, timestamp, deadline", "= version, deadline, deadline"),

    # Rule 4: only a completed replay clears, and only what it froze.
    Bug("clear to head: what arrives during a replay is wiped", 4, f"{STATE}:evolve",
        "= state.pending_offsets, state.replayed", "= NO_OFFSETS, state.replayed"),
    Bug("the committed offset moves to the head", 4, f"{STATE}:evolve",
        "here if state.frozen_offset is None else state.frozen_offset", "here", only_long=True),
    Bug("a completed replay leaves what it has replayed", 4, f"{STATE}:evolve",
        "= state.pending_offsets, state.replayed", "= state.offsets, state.replayed"),
    Bug("an abort drops what is pending", 4, f"{STATE}:evolve",
        "new.carries = True", "new.carries, new.offsets = True, state.frozen_offsets"),
    Bug("an abort drops what was frozen", 4, f"{STATE}:evolve",
        "new.carries = True", "new.carries, new.offsets = True, state.pending_offsets"),
    Bug("an abort moves the committed offset", 4, f"{STATE}:evolve",
        "new.carries = True", "new.carries, new.committed = True, here", only_long=True),
    Bug("what is pending comes before what was frozen", 4, "statemachine._reading:Reading._read",
        "chosen(state).runs", "reversed(chosen(state).runs)"),
    Bug("expiry completes the replay", 4, f"{DECIDE}:_decide_snapshot",
        "return [SnapshotExpired(version), *_finished(state, finish)]", "return [ReplayCompleted(version)]"),
    Bug("an error in a block completes the replay", 4, f"{BUFFER}.snapshot",
        "self.abort_snapshot(user_id, described(error), frozen.version)", "frozen.complete()"),
    Bug("a clear drops what came later", 4, f"{DECIDE}:decide",
        "[BufferCleared(through)] if", "[BufferCleared(state.head)] if", only_long=True),
    Bug("a clear is done while a snapshot is in progress", 4, LIFECYCLE,
        '"idle",         "clear_buffer"', '("idle", *IN_PROGRESS), "clear_buffer"', only_long=True),

    # Rule 5: a stale version changes nothing and reads nothing else; one begin wins.
    Bug("no fence: any version will do", 5, f"{DECIDE}:_check",
        "version is not None and (version", "False and (version"),
    Bug("no fence at finalize", 5, f"{DECIDE}:_decide_snapshot",
        '_check(state, "finalize_snapshot", version)', '_check(state, "finalize_snapshot")', only_long=True),
    Bug("no fence at complete", 5, f"{DECIDE}:_decide_snapshot",
        '_check(state, "complete_replay", version)', '_check(state, "complete_replay")'),
    Bug("no fence at renew", 5, f"{DECIDE}:_decide_snapshot",
        '_check(state, "renew_lease", version)', '_check(state, "renew_lease")'),
    Bug("no fence at abort", 5, f"{DECIDE}:_decide_snapshot",
        '_check(state, "abort_snapshot", version)', '_check(state, "abort_snapshot")'),
    Bug("no fence at scheduling a retry", 5, f"{DECIDE}:_schedule",
        "version is not None and version != state.version", "False"),
    Bug("a version that was never begun is accepted", 5, f"{DECIDE}:_check",
        "version != state.version", "version < state.version", only_long=True),
    Bug("a snapshot object completes whichever is in progress", 5, f"{SNAPSHOT}.complete",
        "self.version", "None"),
    Bug("a stale snapshot reads others' measurements", 5, "events._memory:MemoryLog.measurements",
        "if offsets.start < start:", "if False:"),
    Bug("a version is used again", 5, f"{DECIDE}:_decide_snapshot",
        "SnapshotBegun(state.version + 1,", "SnapshotBegun(max(1, state.version),"),
    Bug("two begins win", 5, f"{DECIDE}:_decide_snapshot",
        '_check(state, "begin_snapshot")', "pass"),
    Bug("the expected head is ignored", 5, "events._memory:MemoryLog._extend",
        "if head != expected_head:", "if False:", only_long=True),
    Bug("what was decided is recorded wherever the head is by then", 5, f"{JOURNAL}:Journal.record",
        "expected_head=before.head", "expected_head=self.log.position(user_id).head if state else 0", only_long=True),

    # Rule 6: whoever is stuck gets on; deadlines and retries are in the log.
    Bug("a renewed lease ends as before", 6, f"{DECIDE}:_decide_snapshot",
        "LeaseRenewed(state.version, now + config.replay_timeout)", "LeaseRenewed(state.version, state.deadline)"),
    Bug("a replay has only the time of its begin", 6, f"{DECIDE}:_decide_snapshot",
        "SnapshotFinalized(state.version, now + config.replay_timeout)",
        "SnapshotFinalized(state.version, state.deadline)"),
    Bug("an overdue snapshot does not expire when its user is asked about", 6, f"{SHELL}._touch",
        "if self._expire(user_id, state):", "if False:", only_long=True),
    Bug("an overdue snapshot does not expire when a measurement arrives", 6, f"{SHELL}._add",
        "partial(self._timely, command, now, False)", "command"),
    Bug("at its deadline a snapshot is not overdue yet", 6, f"{STATE}:BufferState.is_overdue",
        "now >= self.deadline", "now > self.deadline"),
    Bug("the log does not know the deadline", 6, f"{GRANT}:grant",
        'if state.phase == "aborting" else state.deadline', 'if state.phase == "aborting" else None', only_long=True),
    Bug("adds go on past the deadline", 6, f"{BUFFER}.add_measurement",
        "(tail.until is None or self._clock() < tail.until)", "True", only_long=True),
    Bug("batches go on past the deadline", 6, "events._memory:MemoryLog.add_many",
        "late = tail.until is not None and not clock() < tail.until", "late = False", only_long=True),
    Bug("attempts are not counted", 6, f"{STATE}:evolve",
        "None, state.attempts + 1", "None, state.attempts"),
    Bug("attempts count on after a completed replay", 6, f"{STATE}:evolve",
        "new.carries, new.attempts = False, 0", "new.carries = False", only_long=True),
    Bug("attempts count on after a release", 6, f"{STATE}:_evolve_idle",
        'new.reason, new.attempts = "", 0', 'new.reason = ""', only_long=True),
    Bug("a parked user begins a snapshot", 6, LIFECYCLE,
        '"idle",         "begin_snapshot"', '("idle", "parked"), "begin_snapshot"'),
    Bug("who is parked is not listed", 6, f"{GRANT}:grant",
        'shelved = state.phase == "parked"', "shelved = False"),
    Bug("who was released is still listed as parked", 6, "events._memory:MemoryLog._set_grant",
        "del self._shelved[stream]", "pass", only_long=True),
    Bug("who is due is not listed", 6, f"{GRANT}:_until_due",
        "return room, due_at if due_at < NOT_AS_IT_IS else None, None", "return room, None, None", only_long=True),
    Bug("who becomes due some time after the first measurement is not listed", 6, f"{GRANT}:_until_due",
        "after if after < NOT_AS_IT_IS else None", "None", only_long=True),
    Bug("who is not due is listed", 6, f"{JOURNAL}:Journal._is_due",
        "return self.config.due_policy.due_from(window_of(state, oldest)) <= now", "return True"),
    Bug("who is put off is listed too early", 6, f"{JOURNAL}:Journal._is_due",
        "if state.retry_at is not None:", "if False:", only_long=True),
    Bug("the time of a retry is forgotten", 6, f"{STATE}:_evolve_idle",
        "            new.retry_at = retry_at", "            pass", only_long=True),
    Bug("a begin leaves the time of a retry", 6, f"{STATE}:evolve",
        "new.frozen_offset, new.retry_at = here, None", "new.frozen_offset = here", only_long=True),

    # Rule 7: the rollback runs in `aborting`, and until it has succeeded.
    Bug("the sweep does not find who is left in aborting", 7, f"{GRANT}:grant",
        'until = -inf if state.phase == "aborting" else state.deadline', "until = state.deadline", only_long=True),
    Bug("the sweep does not try the rollback again", 7, f"{BUFFER}.expire_overdue",
        "self._rollbacks.run(user_id)", "pass"),
    Bug("the abort is finished before its rollback", 7, f"{DECIDE}:_finished",
        "if finish else", "if True else"),
    Bug("the rollback runs in idle", 7, f"{ROLLBACKS}._roll_back",
        "hook(user_id,", "self._journal.record(user_id, FinishAbort(state.version)); hook(user_id,"),
    Bug("a rollback that fails finishes the abort", 7, f"{ROLLBACKS}._roll_back",
        "return error", "pass"),
    Bug("the rollback is told another version", 7, f"{ROLLBACKS}._roll_back",
        "hook(user_id, state.version,", "hook(user_id, state.version - 1,"),
    Bug("the rollback of what expired is omitted", 7, f"{ROLLBACKS}._roll_back",
        "if hook is not None:", "if hook is not None and state.reason != 'expired':"),
    Bug("nobody is told that the rollback failed", 7, f"{BUFFER}.abort_snapshot",
        "if error is not None:", "if False:", only_long=True),

    # Rule 8: bounded, and never silently.
    Bug("the bound is ignored", 8, f"{DECIDE}:bound",
        "else config.max_measurements)", "else 10 * config.max_measurements)"),
    Bug("the bound is off by one", 8, f"{DECIDE}:bound",
        "else config.max_measurements)", "else config.max_measurements + 1)"),
    Bug("the bound of what is pending is ignored", 8, f"{DECIDE}:bound",
        "return max(0, min(config.pending_bound, reserve))", "return 10 * config.carried_bound"),
    Bug("aborts in a row add up", 8, f"{DECIDE}:bound",
        "min(config.pending_bound, reserve)", "config.pending_bound", only_long=True),
    Bug("an abort makes the buffer evict", 8, f"{STATE}:evolve",
        "new.carries = True", "new.carries = False", only_long=True),
    Bug("what is frozen is evicted", 8, f"{DECIDE}:evictable",
        "return state.offsets if state.frozen_offset is None else state.pending_offsets", "return state.offsets"),
    Bug("the newest are evicted", 8, f"{DECIDE}:_eviction",
        "MeasurementsEvicted(candidates[0], candidates[count - 1] + 1)",
        "MeasurementsEvicted(candidates[len(candidates) - count], candidates[len(candidates) - 1] + 1)"),
    Bug("an eviction is not counted", 8, f"{STATE}:evolve",
        "state.evicted + state.live - new.live", "state.evicted"),
    Bug("an eviction by the log is not counted", 8, f"{GRANT}:_after_evictions",
        "evicted=state.evicted + evictions", "evicted=state.evicted"),
    Bug("an eviction without an event", 8, "events._memory:MemoryLog.append",
        "batch = tuple(events)", "batch = tuple(event for event in events if not hasattr(event, 'start'))"),
    Bug("of what is evicted the hook is not given what was just being added", 8, f"{JOURNAL}:Journal._evicted",
        "evicted += command.measurements[: max(0, event.stop - before.head)]", "pass", only_long=True),
    Bug("the log evicts what the hook is never told of", 8, f"{JOURNAL}:Journal._granted",
        "not self._hand_over and", ""),
    Bug("the policy is to reject, and it evicts", 8, f"{DECIDE}:_add",
        'if config.on_overflow == "reject":', "if False:"),
    Bug("of a batch that does not fit a part is recorded", 8, f"{DECIDE}:_add",
        'if config.on_overflow == "reject":',
        'if config.on_overflow == "reject" and count > excess:\n        return events[: count - excess]\n'
        '    if config.on_overflow == "reject":', only_long=True),

    # Rule 9: each measurement is accounted for, once.
    Bug("of a batch one is counted", 9, f"{STATE}:with_added",
        "state.added + count", "state.added + 1"),
    Bug("a batch is recorded one by one while its source is read", 9, f"{BUFFER}.add_measurements",
        "batch = self._batch(user_id, measurements)",
        "batch = [self.add_measurement(user_id, one) for one in measurements][:0]"),
    Bug("what is cleared is not counted", 9, f"{STATE}:_evolve_idle",
        "state.cleared + state.live - new.live", "state.cleared"),
    Bug("what is cleared is counted as replayed", 9, f"{STATE}:_evolve_idle",
        "new.cleared = state.cleared + state.live - new.live",
        "new.replayed = state.replayed + state.live - new.live"),
    Bug("an add tells another offset", 9, f"{BUFFER}.add_measurement",
        "items.append(measurement)\n                    return tail.start + length",
        "items.append(measurement)\n                    return length", only_long=True),

    # Rule 10: no callback under a lock.
    Bug("the rollback is called under the user's lock", 10, f"{ROLLBACKS}._roll_back",
        "hook(user_id,", "with self._journal.log.tails[user_id].lock: hook(user_id,"),
    Bug("the rollback is called under a lock over all users", 10, f"{ROLLBACKS}._roll_back",
        "hook(user_id,", "with self._lock: hook(user_id,"),
    Bug("the evict hook is called under the user's lock", 10, f"{SHELL}._told",
        "self._on_evict(user_id,", "with self._log.tails[user_id].lock: self._on_evict(user_id,"),
)
# fmt: on

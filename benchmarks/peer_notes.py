"""What has to be said about each of holdover's peers, so that a reader can judge the figures. Knows no figures.

What happens after a crash is what their documentation and source say.
"""

from benchmarks.peer_queues import TAKEN
from benchmarks.peer_worker import TURNS

HOLDOVER = "holdover"

DURABLE = (
    "SQLite with WAL and synchronous=FULL for all: what was put is on the disk before the next is. An item is the "
    "same few bytes for all, encoded before the clock starts; for litequeue, which takes text, the same as text. "
    "All start with a write-ahead log of full length. What was confirmed is cleared away outside the clock where "
    "it would be in the way (litequeue, persist-queue). A file that is opened was closed properly."
)

DURABLE_EACH = {
    HOLDOVER: "A batch is a snapshot, iterated over and completed. That it was begun is recorded, too: nobody else can "
    "begin one; after a crash it expires at its deadline, all of it is live again, and whoever began it is refused.",
    "eventsourcing": "A batch is a page of notifications; it is confirmed by recording the follower's position. After "
    "a crash the page is read again. That it was taken is not recorded: two followers do the same work, and one of "
    "them is refused at the end.",
    "persist-queue": f"It has no batches: {TAKEN} gets and {TAKEN} acks, each a transaction. After a crash, whoever "
    "opens the file gets the unconfirmed again, also those that another process is still working on.",
    "litequeue": f"{TAKEN} pops, each a transaction of its own; then all are marked as done in one. After a crash, "
    "what was popped stays locked until the application looks for it and gives it back, item by item.",
    "diskcache.Deque": f"A smaller job, since it has no confirmation: {TAKEN} poplefts in one transaction. A crash "
    "after its end loses them; keeping it open during the work keeps others from putting. Its own default is NORMAL.",
}

IN_MEMORY = (
    "The same items and jobs as on disk. diskcache has no memory mode. What is taken from the two standard ones "
    "is the taker's alone: if the work fails, the taker can only put it to the end."
)

IN_MEMORY_EACH = {
    HOLDOVER: "On a MemoryLog.",
    "eventsourcing": "Its recorder of plain Python objects; the events are made before the clock starts.",
    "persist-queue": "SQLiteAckQueue, in SQLite's `:memory:`.",
    "litequeue": "In SQLite's `:memory:`.",
    "queue.Queue": f"The bare thing with a lock: {TAKEN} times get_nowait and task_done.",
    "collections.deque": f"The bare thing: {TAKEN} times popleft; nothing is confirmed, and nothing is locked.",
}

MACHINES = (
    "The others keep a state and nothing else; their table has just these three steps, without guards. holdover's "
    "cycle also counts offsets and versions, sets deadlines, appends three events to the user's log and takes a "
    f"lock. {TURNS} users take turns. On disk every step is there before the next begins: SQLite with WAL and "
    "synchronous=FULL."
)

CALLS, CONTEXT, ALONE = HOLDOVER, "holdover, with buffer.snapshot()", "holdover, its table alone"
MODELS, EACH_A_MACHINE = "transitions, a model for each user", "transitions, a machine for each user"
INSTANCES = "python-statemachine"
INTERPRETERS, STORED = "xstate-statemachine", "xstate-statemachine, loaded and saved"

MACHINES_EACH = {
    CALLS: "begin_snapshot, finalize_snapshot and complete_replay of an empty window. Weighed are users who had a "
    "measurement, which was replayed.",
    CONTEXT: "Begin and finalize are one step, which is recorded at once.",
    ALONE: "Three times `Lifecycle.target`, which refuses what is illegal: all that the others do.",
    MODELS: "One machine, to which the users' models are added. Each is compared with all that are there, so that "
    "adding takes quadratic time.",
    EACH_A_MACHINE: "What one gets by making a Machine with a model; its cycle costs the same.",
    INSTANCES: "An instance for each user, in a process of its own, since its package has the name of ours.",
    INTERPRETERS: "An interpreter for each user, which stays in memory; on disk it is saved after each event, with the "
    "version that is expected. Its store sets synchronous=NORMAL, which is set back to FULL here.",
    STORED: "For each event the state is loaded and saved, as several processes have to do it.",
}

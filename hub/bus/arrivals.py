"""When records arrived, remembered roughly: a note a second and topic, so that the oldest undecided one has an age."""

from threading import Lock
from time import monotonic

APART_S = 1.0
MOST_NOTES = 4_096  # per topic; then every second one is forgotten, and ages beyond an hour get coarser


class Arrivals:
    """Thread-safe. Ages are at least as given: what was there before the first note is as old as that."""

    def __init__(self) -> None:
        self._notes: dict[int, list[tuple[int, float]]] = {}  # topic -> (offset, when), both ascending
        self._lock = Lock()

    def note(self, topic: int, offset: int) -> None:
        """Hear that a record of this offset is there now."""
        with self._lock:
            notes, now_s = self._notes.setdefault(topic, []), monotonic()
            if notes and now_s - notes[-1][1] < APART_S:
                return
            notes.append((offset, now_s))
            if len(notes) > MOST_NOTES:
                del notes[1::2]

    def age_s(self, topic: int, position: int) -> float:
        """Return for how long the record at `position` is there; forget what lies before it."""
        with self._lock:
            notes = self._notes.get(topic, [])
            while len(notes) > 1 and notes[1][0] <= position:
                notes.pop(0)
            return monotonic() - notes[0][1] if notes else 0.0

"""Timing calls against each other: all of them in each round, so that each ratio is of one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BUDGET = 12.0  # seconds; a call that has used more of them is not repeated


@dataclass(frozen=True)
class Call:
    """What is timed, and what has to happen around it without being timed."""

    run: Callable[[], Any]
    before: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None

    def timed(self, times: int = 1) -> float:
        """Seconds that one run takes; its result is dropped when the clock has stopped."""
        if self.before:
            self.before()
        start = time.perf_counter()
        for _ in range(times):
            result = self.run()
        taken = (time.perf_counter() - start) / times
        del result
        if self.after:
            self.after()
        return taken


def alternate(calls: Mapping[str, Call], rounds: int, least: float) -> dict[str, list[float]]:
    """The durations of each call by round, without the first, which warms up.

    What is too slow to be repeated gives fewer of them; if it is over budget at once, its warm-up counts. What takes
    less than the least number of seconds is repeated within its round, or the clock would be measured.
    """
    warm = {label: call.timed() for label, call in calls.items()}
    times = {label: 1 if calls[label].before else max(1, int(least / (taken + 1e-9))) for label, taken in warm.items()}
    spent = dict(warm)
    taken: dict[str, list[float]] = {label: [] for label in calls}
    labels = list(calls)
    for number in range(rounds):
        for label in labels[number % len(labels) :] + labels[: number % len(labels)]:  # nobody always follows the same
            if spent[label] <= BUDGET:
                taken[label].append(calls[label].timed(times[label]))
                spent[label] += taken[label][-1] * times[label]
    return {label: found or [warm[label]] for label, found in taken.items()}

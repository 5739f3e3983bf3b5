"""Timing calls against each other: all of them in each round, so that each ratio is of one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

BUDGET = 12.0  # seconds; a call that has used more of them is not repeated
BRIEF = 2.0  # the same, for what nothing was promised about


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


def alternate(
    calls: Mapping[str, Call], rounds: int, least: float, promised: Collection[str] = ()
) -> dict[str, list[float]]:
    """The durations of each call by round, without the first, which warms up.

    Args:
        calls: what is timed, by label.
        rounds: how often.
        least: seconds that a measurement should take; shorter calls are repeated, or the clock would be measured.
        promised: labels of those that a target is about; the others get less time.

    What is too slow to be repeated gives fewer of them; if it is over budget at once, its warm-up counts.
    """
    warm = {label: call.timed() for label, call in calls.items()}
    times = {label: 1 if calls[label].before else max(1, int(least / (taken + 1e-9))) for label, taken in warm.items()}
    budget = {label: BUDGET if label in promised else BRIEF for label in calls}
    spent = dict(warm)
    taken: dict[str, list[float]] = {label: [] for label in calls}
    labels = list(calls)
    for number in range(rounds):
        for label in labels[number % len(labels) :] + labels[: number % len(labels)]:  # nobody always follows the same
            if spent[label] <= (budget[label] if number else BUDGET):
                taken[label].append(calls[label].timed(times[label]))
                spent[label] += taken[label][-1] * times[label]
    return {label: found or [warm[label]] for label, found in taken.items()}

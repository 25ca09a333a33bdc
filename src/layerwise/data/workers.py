"""Work on many items by threads, in order, with only a window of it waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WORKERS = min(8, os.cpu_count() or 1)

A = TypeVar("A")
T = TypeVar("T")


def spread(
    work: Callable[[A], T],
    items: Sequence[A],
    advance: Callable[[int], None] = lambda done: None,
    *,
    chunk: int = 16,
    workers: int = WORKERS,
    begin: Callable[[], None] | None = None,
) -> Iterator[T]:
    """Results of `work` in the order of `items`, computed by threads; only a window of tasks waits at any time.

    Args:
        work: on one item.
        items: all of them.
        advance: called with the number of items just done.
        chunk: items a task: small ones cost less than a task does.
        workers: threads.
        begin: what each thread does first.

    Example:
        >>> list(spread(lambda number: number**2, range(4)))
        [0, 1, 4, 9]
    """

    def several(start: int) -> list[T]:
        return [work(item) for item in items[start : start + chunk]]

    waiting: deque[Future[list[T]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="layerwise", initializer=begin)
    try:
        for start in range(0, len(items), chunk):
            waiting.append(pool.submit(several, start))
            if len(waiting) >= 4 * workers:
                yield from _finished(waiting, advance)
        while waiting:
            yield from _finished(waiting, advance)
    finally:  # also when the caller stops early, as at Ctrl-C
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: deque[Future[list[T]]], advance: Callable[[int], None]) -> list[T]:
    results = waiting.popleft().result()
    advance(len(results))
    return results

"""The batches of a training, read ahead of their use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.store_reading import Share

AHEAD = 3  # batches that are read before they are asked for; 0: none
THREAD = "interpreto batches"


class Position(NamedTuple):
    """A beginning among the batches of a reading, and a part of their rows.

    Attributes:
        start: Number of the first batch.
        part: ``(i, n)``: this process, and the number of all. Of a store, each reads an n-th of the blocks; of others, rows
            i, i + n, … of each batch.
    """

    start: int = 0
    part: tuple[int, int] = (0, 1)


def stream(activations: Activations, size: int, generator: torch.Generator, position: Position) -> Generator[Share, None, None]:
    """Yield shuffled batches in float32, on the device of the activations; or a process's part of them.

    A thread reads stores, and whatever else is not on the device already, while the batches before are used. For a GPU it
    reads to pinned memory, and copies on a stream of its own. The batches are the same in any case.

    Args:
        activations: Whose rows are read.
        size: Rows per batch.
        generator: Draws the order.
        position: Where to begin, and which rows to take.
    """
    source, device = activations.source, activations.device
    here = source.device.type == device.type if isinstance(source, Tensor) else not getattr(source, "reads_ahead", True)
    batches = _batches(source, size, generator, position, pin=device.type == "cuda" and not here)
    if here or not AHEAD:
        for rows, places in batches:
            yield Share(rows.detach().to(device).float(), places)
        return
    with _Ahead(batches, device) as moved:
        for rows, places in moved:
            yield Share(rows.detach().float(), places)


def _batches(source: Any, size: int, generator: torch.Generator, position: Position, pin: bool) -> Iterator[Share]:
    """Yield batches as the source has them."""
    start, (first, step) = position

    def memory(count: int) -> Tensor:
        return torch.empty(count, source.shape[1], dtype=source.dtype, pin_memory=True)

    if isinstance(source, Tensor):
        order = torch.randperm(len(source), generator=generator).to(source.device)
        for index in order.split(size)[start:]:
            own = index[first::step]
            rows = torch.index_select(source, 0, own, out=memory(len(own))) if pin else source.index_select(0, own)
            yield Share(rows, torch.arange(first, len(index), step))
    elif hasattr(source, "shares"):
        yield from source.shares(size, generator, start=start, part=(first, step), into=memory if pin else None)
    elif {"start", "part", "into"} <= {*signature(source.batches).parameters}:
        for rows in source.batches(size, generator, start=start, part=(first, step), into=memory if pin else None):
            yield Share(rows, first + step * torch.arange(len(rows)))
    else:
        for number, rows in enumerate(source.batches(size, generator)):
            if number >= start:
                own = rows[first::step]
                own = own.pin_memory() if pin and own.device.type == "cpu" else own
                yield Share(own, torch.arange(first, len(rows), step))


class _Ahead:
    """Context manager with an iterator whose items a thread computes before they are asked for.

    Args:
        batches: What is iterated over, in the thread.
        device: Where the items are moved to.
    """

    def __init__(self, batches: Iterator[Share], device: torch.device) -> None:
        self.batches, self.device = batches, device
        self.ready: queue.Queue[Any] = queue.Queue(AHEAD)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._read, name=THREAD, daemon=True)

    def __enter__(self) -> Iterator[Share]:
        self.thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def _items(self) -> Iterator[Share]:
        while True:
            item, event = self.ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            if event is not None:
                used_by = torch.cuda.current_stream(self.device)
                used_by.wait_event(event)
                item.rows.record_stream(used_by)
            yield item

    def _read(self) -> None:
        try:
            copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
            with torch.inference_mode(False), torch.no_grad():
                for share in self.batches:
                    if not self._put(self._moved(share, copies)):
                        return
            self._put((None, None))
        except BaseException as error:  # raised where the items are asked for
            self._put((error, None))

    def _moved(self, share: Share, copies: Any) -> tuple[Share, Any]:
        rows, places = share
        if copies is None:
            return Share(rows.to(self.device), places), None
        with torch.cuda.stream(copies):
            return Share(rows.to(self.device, non_blocking=True), places), copies.record_event()

    def _put(self, item: tuple[Any, Any]) -> bool:
        """Hand an item over; False once nobody waits for it."""
        while not self.stopped.is_set():
            try:
                self.ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

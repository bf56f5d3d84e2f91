"""One lock per model: threads that explain one model take turns, so that no pass sees what another has set."""

from __future__ import annotations

import threading
import weakref

from torch import nn

_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def lock_of(model: nn.Module) -> threading.RLock:
    """Return the re-entrant lock of a model, the same through every wrapper of it.

    Compiled models, ``DataParallel``, PEFT's models and modules of the user's own hold the layers of the model that they
    wrap, so the lock belongs to the first layer that has weights of its own.
    """
    owner = next((module for module in model.modules() if module._parameters), model)
    with _guard:
        return _locks.setdefault(owner, threading.RLock())

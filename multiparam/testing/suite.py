"""The suite: every promise, one class."""

from __future__ import annotations

from .access import AccessTests
from .building import BuildingTests
from .files import FileTests
from .initialization import InitializationTests
from .inventory import InventoryTests
from .names import NameTests
from .running import RunningTests
from .ties import TieTests
from .values import ValueTests
from .verifying import VerifyingTests
from .walking import WalkingTests

__all__ = ["ConformanceSuite"]


class ConformanceSuite(
    NameTests,
    AccessTests,
    ValueTests,
    BuildingTests,
    RunningTests,
    InitializationTests,
    TieTests,
    FileTests,
    InventoryTests,
    VerifyingTests,
    WalkingTests,
):
    """Subclass it, set `backend`, and provide the models of `NativeModels`."""

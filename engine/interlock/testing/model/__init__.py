"""A check of everything that can happen to one task of a lifecycle, within bounds."""

from interlock.testing.model._check import ModelReport, Violation, check_model
from interlock.testing.model._trace import Line, Trace
from interlock.testing.model._world import Faults

__all__ = ["Faults", "Line", "ModelReport", "Trace", "Violation", "check_model"]

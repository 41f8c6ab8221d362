"""Histories, models and verdicts: decides whether a recorded history is linearizable; usable alone."""

from checker.budget import Budget
from checker.check import check
from checker.history import History, HistoryError, Op
from checker.models import MODELS, Model, ModelError, make_model
from checker.recorder import HistoryWriter
from checker.verdict import Verdict

__all__ = [
    "MODELS",
    "Budget",
    "History",
    "HistoryError",
    "HistoryWriter",
    "Model",
    "ModelError",
    "Op",
    "Verdict",
    "check",
    "make_model",
]

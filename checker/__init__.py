"""Histories, models and verdicts: decides whether a recorded history is linearizable; usable alone.

A history is a list of events, in the order in which they happened. Two clients write, and one reads what was overwritten:

>>> from checker import History, check, make_model
>>> history = History.from_events(
...     [
...         {"process": 0, "type": "invoke", "f": "write", "value": 1},
...         {"process": 0, "type": "ok", "f": "write"},
...         {"process": 1, "type": "invoke", "f": "write", "value": 2},
...         {"process": 1, "type": "ok", "f": "write"},
...         {"process": 2, "type": "invoke", "f": "read"},
...         {"process": 2, "type": "ok", "f": "read", "value": 1},
...     ]
... )
>>> verdict = check(history, make_model("register"))
>>> verdict.verdict
'invalid'
>>> print(verdict.explanation.partition(";")[0])
Read by process 2 returned 1 at event 5, but every order of the operations leaves 2: 1 was overwritten by write 2 \
(process 1, completed at event 3) before the read began

The same events one by one, as they happen; a violation is told as soon as it is proved:

>>> from checker import Checker
>>> checker = Checker(make_model("register"))
>>> proved = [checker.feed(event) for event in [{"process": 0, "type": "invoke", "f": "read"}, {"process": 0, "type": "ok", "f": "read", "value": 7}]]
>>> proved[0], proved[1].verdict
(None, 'invalid')

A model of one's own says what one machine would answer; what its states are is its own business:

>>> from checker import Model
>>> class Counter(Model):
...     name, functions, init = "counter", frozenset({"add", "read"}), 0
...
...     def step(self, state, op):
...         if op.f == "add":
...             return state + op.value
...         return state if op.result == state else None
>>> events = [{"process": 0, "type": "invoke", "f": "add", "value": 2}, {"process": 1, "type": "invoke", "f": "read"}]
>>> check(History.from_events([*events, {"process": 1, "type": "ok", "f": "read", "value": 2}]), Counter()).verdict
'valid'
>>> check(History.from_events([*events, {"process": 1, "type": "ok", "f": "read", "value": 3}]), Counter()).verdict
'invalid'
"""

from checker.budget import Budget
from checker.check import Interrupted, Progress, check
from checker.history import History, HistoryError, Op
from checker.models.base import Model, ModelError
from checker.models.catalog import MODELS, make_model
from checker.recorder import HistoryWriter
from checker.streaming import Checker
from checker.verdict import Verdict

__all__ = [
    "MODELS",
    "Budget",
    "Checker",
    "History",
    "HistoryError",
    "HistoryWriter",
    "Interrupted",
    "Model",
    "ModelError",
    "Op",
    "Progress",
    "Verdict",
    "check",
    "make_model",
]

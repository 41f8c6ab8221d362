"""Models that are random small tables of steps, as users may write them, and histories of objects that behave like that."""

from __future__ import annotations

from random import Random

from checker.history import FAIL, INFO, OK, History, Op
from checker.models.base import NOTHING, Effect, Model, State

Row = tuple[int | None, ...]
"""What a function makes of each state; None: it is illegal there."""


class Table(Model):
    """A model whose functions are rows of a table. What it declares is true; it may declare nothing, as most users' models do."""

    name, init = "table", 0

    def __init__(self, rows: list[Row], *, effects: bool = False, kinds: bool = False) -> None:
        self.rows = {f"f{number}": row for number, row in enumerate(rows)}
        self.functions = frozenset(self.rows)
        self._effects, self._kinds = effects, kinds

    def step(self, state: State, op: Op) -> State | None:
        return self.rows[op.f][state]  # type: ignore[no-any-return]

    def readonly(self, op: Op) -> bool:
        return self._kinds and all(after in (None, state) for state, after in enumerate(self.rows[op.f]))

    def blind(self, op: Op) -> bool:
        return self._kinds and None not in self.rows[op.f] and len(set(self.rows[op.f])) == 1

    def effect(self, op: Op) -> Effect | None:
        return effect_of(self.rows[op.f]) if self._effects else None


class Silent(Table):
    """The same without a word about effects: only then is what its operations do learned from columns."""

    effect = Model.effect


def effect_of(row: Row) -> Effect | None:
    """The assignment form of a function, None if it has none."""
    legal = [state for state, after in enumerate(row) if after is not None]
    if not legal:
        return Effect("a state that there is not", NOTHING)
    changes = any(row[state] != state for state in legal)
    if len(legal) == 1:
        return Effect(legal[0], row[legal[0]] if changes else NOTHING)
    if len(legal) < len(row):
        return None
    if not changes:
        return Effect(NOTHING, NOTHING)
    return Effect(NOTHING, row[0]) if len(set(row)) == 1 else None


def random_row(draw: Random, states: int) -> Row:
    """A function of one of the kinds that models have: one that changes nothing, a write, a read, a cas, a partial one, or any."""
    kind = draw.choice(["ping", "write", "read", "cas", "partial read", "partial write", "any"])
    mine, other = draw.randrange(states), draw.randrange(states)
    whole = range(states)
    if kind == "ping":
        return tuple(whole)
    if kind == "write":
        return tuple(mine for _ in whole)
    if kind == "read":
        return tuple(state if state == mine else None for state in whole)
    if kind == "cas":
        return tuple(other if state == mine else None for state in whole)
    if kind == "partial read":
        return tuple(state if draw.random() < 0.6 else None for state in whole)
    if kind == "partial write":
        return tuple(mine if draw.random() < 0.6 else None for _ in whole)
    return tuple(draw.choice([None, *whole]) for _ in whole)


def random_model(draw: Random) -> Table:
    """2 to 4 states, 3 to 6 functions; in a third of them each function has assignment form, so that near-linear ways apply."""
    states = draw.randint(2, 4)
    plain = draw.random() < 1 / 3
    rows: list[Row] = []
    count = draw.randint(3, 6)
    while len(rows) < count:
        row = random_row(draw, states)
        if not plain or effect_of(row) is not None:
            rows.append(row)
    if draw.random() < 0.5:
        return Silent(rows, kinds=draw.random() < 0.3)
    return Table(rows, effects=True, kinds=draw.random() < 0.5)


def history(draw: Random, model: Table, most: int = 9) -> list[Op]:
    """A few operations of an object that behaves like the table, of which some are then exchanged for others: often invalid."""
    clients, ticks = draw.randint(1, 5), draw.choice([1, 3, 8])
    free = [0] * clients
    asked = []
    for number in range(draw.randint(1, most)):
        client = draw.randrange(clients)
        begin = free[client] + draw.randrange(3)
        effect = begin + draw.randrange(ticks)
        end = effect + draw.randrange(ticks)
        free[client] = end + draw.randint(0, 1)
        asked.append((effect, draw.random(), number, begin, end))
    lost, wrong = draw.choice([0.0, 0.2, 0.5]), draw.choice([0.0, 0.2, 0.5])
    state, names, operations = 0, sorted(model.rows), []
    for _, luck, number, begin, end in sorted(asked):
        legal = [name for name in names if model.rows[name][state] is not None]
        f = draw.choice(legal or names)
        kind = FAIL if f not in legal or draw.random() < 0.05 else INFO if draw.random() < lost else OK
        if kind == OK or (kind == INFO and luck < 0.5):
            state = model.rows[f][state]  # type: ignore[assignment]
        if kind == OK and draw.random() < wrong:
            f = draw.choice(names)
        operations.append(
            Op(process=number, f=f, type=kind, invoked=0, invoke_time=begin, return_time=None if kind == INFO else end)
        )
    return list(History.from_intervals(operations))


def drawn(draw: Random) -> tuple[Table, list[Op]]:
    """A model and a history of it."""
    model = random_model(draw)
    return model, history(draw, model)

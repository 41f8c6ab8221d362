"""Wrong checkers: each is one module of the checker with one piece of text replaced, and why that is wrong.

They are made of the sources as they stand, so a mutant whose text is gone is a failing test, too (`test_mutants.py`).
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """`before` must stand in the module exactly once; `by` names the part of the battery that is tried first."""

    name: str
    module: str
    before: str
    after: str
    why: str
    by: str = "registers"


_REDUCTIONS = "checker.search.reductions"
_DEPTH = "checker.search.depth"
_SWEEP = "checker.search.sweep"
_PROBLEM = "checker.search.problem"
_ZONES = "checker.fast.zones"
_PREFIXES = "checker.fast.prefixes"

TWINS = [
    Mutant(
        "unseen writes dropped without the closure through cas",
        _REDUCTIONS,
        "            if value not in wanted:\n                wanted.add(value)\n                todo.append(value)",
        "            if value not in wanted:\n                pass",
        "0; info write(1); info cas(1, 2); read 2 needs the write although nobody reads 1 (reduction 5)",
    ),
    Mutant(
        "an unanswered operation forced although another one brings the value",
        _REDUCTIONS,
        "makers[value] == 1 and value in first",
        "makers[value] >= 1 and value in first",
        "only the last producer of a value must have happened (reduction 6)",
    ),
    Mutant(
        "an unanswered operation forced before those who ask were invoked",
        _REDUCTIONS,
        "returned[number] = returned[asker]",
        "returned[number] = problem.invoked[asker]",
        "it took effect before the earliest *return* of those who ask for its value (reduction 6)",
    ),
    Mutant(
        "the initial value is no producer",
        _REDUCTIONS,
        "    makers[problem.model.init] += 1\n",
        "",
        "a read of the initial value does not prove that an unanswered write of it happened (reduction 6)",
    ),
    Mutant(
        "a forced operation may be invoked after it was seen",
        _REDUCTIONS,
        "if returned[number] < problem.invoked[number]:",
        "if False:",
        "a value that was read before its only write was invoked came from nowhere (reduction 6)",
    ),
    Mutant(
        "every operation settled for happened",
        _REDUCTIONS,
        "kept = [number for number in kept if returned[number] != NEVER or _produces(problem, number) in wanted]",
        "kept = [number for number in kept if returned[number] != NEVER]",
        "an unanswered operation may take effect: dropping those that somebody sees accuses the innocent",
    ),
    Mutant(
        "settling without the condition that effects are known",
        _REDUCTIONS,
        "return all(effect is not None for effect in problem.effects)",
        "return any(effect is not None for effect in problem.effects)",
        "an operation without assignment form may observe what the reduction drops (reductions 5 and 6)",
    ),
    Mutant(
        "depth first: whatever leaves this state is linearized at once",
        _DEPTH,
        "        for number, bit, klass in layout.readers[passed]:\n            if not done & bit and step(state, klass) != ILLEGAL:",
        "        every = [*layout.readers[passed], *(each[:3] for each in layout.updates[passed])]\n"
        "        for number, bit, klass in every:\n            if not done & bit and step(state, klass) == state:",
        "state 1, write(1) and later write(2) open, then read 1: using write(1) up loses the only order (reduction 1)",
    ),
    Mutant(
        "depth first: the operation that returns last of its twins goes first",
        _DEPTH,
        "if returned[other] < returned[number]",
        "if returned[other] > returned[number]",
        "the one with the earlier deadline must go first: the later one can wait (reduction 4)",
    ),
    Mutant(
        "twins by function and value, whatever they answered",
        _PROBLEM,
        "freeze(op.result), op.type,",
        "op.type,",
        "operations with different answers do not step alike (reduction 4)",
        "lists",
    ),
    Mutant(
        "depth first: who used more unanswered operations dominates",
        _DEPTH,
        "any(all(map(le, rival, used)) for rival in rivals[:_COMPARISONS])",
        "any(all(map(le, used, rival)) for rival in rivals[:_COMPARISONS])",
        "whoever has more left can repeat any continuation, not the other way round (reduction 2)",
        "traps",
    ),
    Mutant(
        "depth first: nodes told apart without the unanswered operations used",
        _DEPTH,
        "if used in rivals or any(",
        "if rivals or any(",
        "a node that has more unanswered operations left can succeed where another one failed",
        "traps",
    ),
    Mutant(
        "depth first: unanswered operations never take effect",
        _DEPTH,
        "if used[place] < layout.available[passed][place]:",
        "if False:",
        "info is no fail: it may take effect",
    ),
    Mutant(
        "depth first: an unanswered operation may take effect before it was invoked",
        _DEPTH,
        "self.available.append(tuple(counts.values()))",
        "self.available.append(tuple(map(len, problem.unanswered.values())))",
        "its interval begins at its invocation",
    ),
    Mutant(
        "depth first: unanswered operations never run out",
        _DEPTH,
        "spent = (*used[:place], used[place] + 1, *used[place + 1 :])",
        "spent = used",
        "each may take effect once: this is the relaxed search, which may not say valid",
    ),
    Mutant(
        "sweep: whatever leaves this state is linearized at once",
        _SWEEP,
        "        for number, bit in self.sweep.readers.items():\n            if not done & bit and problem",
        "        for number, bit in [*self.sweep.readers.items(), *self.sweep.updates.items()]:\n"
        "            if not done & bit and state == problem",
        "only operations that leave *every* state unchanged may go at once (reduction 1)",
    ),
    Mutant(
        "sweep: unanswered operations of all classes count as one",
        _SWEEP,
        "return all(mine <= other for mine, other in zip(used, weak_used, strict=True))",
        "return sum(used) <= sum(weak_used)",
        "who used fewer in all may have used up the one class that is needed (reduction 2)",
        "traps",
    ),
    Mutant(
        "sweep: marks of the weaker configuration do not count",
        _SWEEP,
        "        if weak_marked & ~weak_done & ~done & ~marked:\n            return False\n",
        "",
        "a configuration that may discharge a write for free is not dominated by one that may not (reduction 3)",
        "traps",
    ),
    Mutant(
        "sweep: done writes dominate",
        _SWEEP,
        "if differ & ~((differ & marked & ~done) | (differ & done & readers)):",
        "if differ & ~((differ & marked & ~done) | (differ & done)):",
        "a write that is done can't be used again; one that is not may still bring its value (reduction 3)",
        "traps",
    ),
    Mutant(
        "sweep: every update is marked as hidden",
        _SWEEP,
        "left |= sweep.blind & ~now",
        "left |= sum(sweep.updates.values()) & ~now",
        "a cas has a condition: it can't stand unseen before any write (reduction 3)",
    ),
    Mutant(
        "sweep: writes are marked by every update",
        _SWEEP,
        "            if blind:\n                left |= sweep.blind & ~now",
        "            if hidden:\n                left |= sweep.blind & ~now",
        "a write is hidden only behind a blind one: right before a cas it would change what that sees (reduction 3)",
    ),
    Mutant(
        "sweep: an unanswered write of the present value hides nothing",
        _SWEEP,
        "hides = blind and bool(sweep.blind & ~(done | marked))",
        "hides = False",
        "1; write 2 beside an info write 1 and cas(1, 3); read 3 needs write 2, write 1, cas, read",
        "traps",
    ),
    Mutant(
        "sweep: unanswered operations before their open twins",
        _SWEEP,
        "            if any(not bit & (done | marked) for bit in self._twins.get(klass, {}).values()):\n",
        "            if klass in self._twins:\n",
        "once the open twin is done an unanswered one may still be needed (reduction 4)",
        "traps",
    ),
    Mutant(
        "sweep: more unanswered operations than there are",
        _SWEEP,
        "if used[place] >= sweep.available[klass]:",
        "if used[place] > sweep.available[klass]:",
        "each may take effect once",
    ),
    Mutant(
        "a beam that dropped configurations says invalid",
        _SWEEP,
        'return GaveUp(stopped.reason or f"a beam of {width} configurations found no order")',
        "return Invalid()",
        "the order may be among those that were dropped",
        "beam",
    ),
    Mutant(
        "a relaxed search says valid",
        _SWEEP,
        'return GaveUp(stopped.reason or "possible if unanswered operations may happen more than once")',
        "return Valid(())",
        "operations were used more than once",
        "beam",
    ),
    Mutant(
        "a sweep that outgrew its limit says invalid",
        _SWEEP,
        "    if stopped.reason:\n        return GaveUp(stopped.reason)\n    if stopped.impossible is not None:",
        "    if stopped.reason:\n        return Invalid()\n    if stopped.impossible is not None:",
        "unknown is no verdict on the store",
        "limits",
    ),
    Mutant(
        "depth first: out of nodes means valid",
        _DEPTH,
        "        if memo.nodes > limit:\n            return GaveUp(",
        "        if memo.nodes > limit:\n            return Valid(()) or GaveUp(",
        "unknown is no verdict on the store",
        "limits",
    ),
    Mutant(
        "an operation that returned where another one is invoked came before it",
        "checker.history",
        "enumerate(sorted(moments))}",
        "enumerate(sorted(moments, key=lambda each: (each[0], -each[1])))}",
        "intervals are closed: the other order raises false alarms on coarse clocks",
        "stamps",
    ),
    Mutant(
        "failed operations may have happened",
        _PROBLEM,
        "    if op.type == FAIL:\n        return model.observes(op)\n",
        "",
        "a fail certainly did not happen: a read of its value is a violation",
    ),
    Mutant(
        "unanswered reads must fit",
        _PROBLEM,
        "return op.type != INFO or not model.readonly(op)",
        "return op.type != INFO or model.readonly(op)",
        "unanswered reads have no answer that could fit, unanswered writes may matter",
    ),
    Mutant(
        "true is 1",
        "checker.values",
        "    if value is True or value is False:\n        return Truth.TRUE if value else Truth.FALSE\n",
        "",
        "in Python True equals 1, in a history it does not",
        "values",
    ),
    Mutant(
        '"6" is 6',
        "checker.values",
        "    return value  # type: ignore[no-any-return]",
        "    return int(value) if isinstance(value, str) and value.isdigit() else value",
        "types are never coerced: a client that answers strings has a bug",
        "values",
    ),
    Mutant(
        "every cas is declared read-only",
        "checker.models.registers",
        'return op.f == "read" or op.type == FAIL or (op.f == "cas" and',
        'return op.f in {"read", "cas"} or op.type == FAIL or (op.f == "cas" and',
        "a false declaration makes a false verdict",
    ),
    Mutant(
        "every cas is declared blind",
        "checker.models.registers",
        'return op.f in {"write", "delete"}',
        'return op.f in {"write", "delete", "cas"}',
        "a false declaration makes a false verdict",
    ),
    Mutant(
        "zones: only the block before counts",
        _ZONES,
        "if block.starts > latest.starts:",
        "if True:",
        "blocks conflict with every earlier one that starts later, not only with the last one",
        "unique",
    ),
    Mutant(
        "zones: values with several producers are decided all the same",
        _ZONES,
        "if effect.produces in found.producers or effect.produces == problem.model.init:",
        "if effect.produces in found.producers and effect.produces == problem.model.init:",
        "the theorem asks for one producer of each value that somebody asks for (Gibbons & Korach)",
    ),
    Mutant(
        "zones: a value is taken twice",
        _ZONES,
        "        if len(numbers) > 1:\n            return Invalid(problem.named(numbers[:2]))\n",
        "        if len(numbers) > 2:\n            return Invalid(problem.named(numbers[:2]))\n",
        "two cas from a value that was brought once: a lost update",
        "unique",
    ),
    Mutant(
        "zones: a ring of cas without a start",
        _ZONES,
        "    if left:  # a ring",
        "    if False:  # a ring",
        "cas(1, 2) and cas(2, 1) with nobody who brings 1 or 2 first",
        "unique",
    ),
    Mutant(
        "zones: the order of operations inside a block does not count",
        _ZONES,
        "if problem.returned[number] < latest_at and latest is not None:",
        "if problem.returned[number] < latest_at and latest is None:",
        "a read that returned before the write of its value was invoked",
        "unique",
    ),
    Mutant(
        "zones: what requires and brings nothing begins a block",
        _ZONES,
        "            found.anywhere.append(number)\n",
        "            found.roots.append(number)\n",
        "a ping may stand anywhere, between a write and its read as well: it is in no block",
        "tables",
    ),
    Mutant(
        "zones: what requires and brings nothing stands first",
        _ZONES,
        "behind[places[bisect_left(returns, problem.invoked[number])]].append(number)",
        "behind[0].append(number)",
        "it changes nothing, but it has its place in time",
        "tables",
    ),
    Mutant(
        "learning: what is legal somewhere is legal everywhere",
        "checker.search.learning",
        "np.where(times == states, NONE,",
        "np.where(times >= 1, NONE,",
        "an operation that is legal in one state requires it",
        "tables",
    ),
    Mutant(
        "prefixes: an element that was appended twice",
        _PREFIXES,
        "if any(len(appends[element]) > 1 for element in times):",
        "if any(len(appends[element]) > 2 for element in times):",
        "which of two appends brought an element that was read is not known",
        "lists",
    ),
    Mutant(
        "prefixes: real time from the last operation only",
        _PREFIXES,
        "if latest < 0 or problem.invoked[number] > problem.invoked[latest]:",
        "if True:",
        "every earlier operation counts, not only the one before: the greatest invocation so far",
        "lists",
    ),
    Mutant(
        "unknown hides an invalid elsewhere",
        "checker.verdict",
        "_WORST_FIRST = (INVALID, UNKNOWN, VALID)",
        "_WORST_FIRST = (UNKNOWN, INVALID, VALID)",
        "a violation of one key is a violation, whatever is unknown of another",
        "keys",
    ),
    Mutant(
        "unknown counts as valid",
        "checker.verdict",
        "_WORST_FIRST = (INVALID, UNKNOWN, VALID)",
        "_WORST_FIRST = (INVALID, VALID, UNKNOWN)",
        "a key that nobody could decide is no key that is right",
        "keys",
    ),
    Mutant(
        "strings that no get sees are one state for ever",
        "checker.models.strings",
        "if state == _UNSEEN and not self.blind(op):",
        "if state == _UNSEEN:",
        "a put leaves its string behind whatever there was",
        "strings",
    ),
]

_COMPILED_DEPTH = "checker.search.compiled_depth"
_SETTLING = "checker.search.settling"
_COMPILED_ZONES = "checker.fast.compiled_zones"

KERNELS = [
    Mutant(
        "compiled depth first: whatever is legal now is linearized at once",
        _COMPILED_DEPTH,
        "left = cursor[_READERS] & ~cursor[_DONE]",
        "left = cursor[_OPEN] & ~cursor[_DONE]",
        "only readers may go at once (reduction 1)",
    ),
    Mutant(
        "compiled depth first: the later twin first",
        _COMPILED_DEPTH,
        "and operations[other, _RETURN] < operations[number, _RETURN]",
        "and operations[other, _RETURN] > operations[number, _RETURN]",
        "the one with the earlier deadline must go first (reduction 4)",
    ),
    Mutant(
        "compiled depth first: who used more dominates",
        _COMPILED_DEPTH,
        "((nodes[new, word] | _UPPER) - nodes[rival, word]) & _UPPER",
        "((nodes[rival, word] | _UPPER) - nodes[new, word]) & _UPPER",
        "whoever has more left can repeat any continuation, not the other way round (reduction 2)",
        "traps",
    ),
    Mutant(
        "compiled depth first: unanswered operations never take effect",
        _COMPILED_DEPTH,
        "min(groups[group, _AVAILABLE], _MOST_USED):",
        "0:",
        "info is no fail",
    ),
    Mutant(
        "compiled depth first: one unanswered operation more than there are",
        _COMPILED_DEPTH,
        "if groups[group, _USED] >= min(groups[group, _AVAILABLE], _MOST_USED):",
        "if groups[group, _USED] > min(groups[group, _AVAILABLE], _MOST_USED):",
        "each may take effect once",
    ),
    Mutant(
        "compiled depth first: only the oldest operation is awaited",
        _COMPILED_DEPTH,
        "left = cursor[_OPEN] & ~cursor[_DONE] & ~cursor[_BLINDS]",
        "left = 0",
        "an unanswered write is used for any open operation that looks at its value",
    ),
    Mutant(
        "compiled depth first: out of room means invalid",
        _COMPILED_DEPTH,
        '                return GaveUp(f"{cursor[_NODES]:,} nodes',
        '                return Refuted() or GaveUp(f"{cursor[_NODES]:,} nodes',
        "unknown is no verdict on the store",
        "limits",
    ),
    Mutant(
        "compiled depth first: a full memory means that nothing is left to try",
        _COMPILED_DEPTH,
        "            return FULL\n",
        "            return DEAD\n",
        "what was not tried may be the order that is looked for",
        "limits",
    ),
    Mutant(
        "settling on arrays without the closure through cas",
        _SETTLING,
        "        wanted[more] = True",
        "        return wanted",
        "0; info write(1); info cas(1, 2); read 2 needs the write although nobody reads 1 (reduction 5)",
        "traps",
    ),
    Mutant(
        "settling on arrays: forced although another one brings the value",
        _SETTLING,
        "sure = (makers[produced] == 1) & (asked_first[produced] != NEVER)",
        "sure = asked_first[produced] != NEVER",
        "only the last producer of a value must have happened (reduction 6)",
    ),
    Mutant(
        "settling on arrays: the initial value is no producer",
        _SETTLING,
        "    makers[arrays.initial] += 1\n",
        "",
        "a read of the initial value does not prove that an unanswered write of it happened",
    ),
    Mutant(
        "settling on arrays: an operation may be seen before it was invoked",
        _SETTLING,
        "        if len(late):\n",
        "        if False:\n",
        "a value that was read before its only write was invoked came from nowhere (reduction 6)",
        "tables",
    ),
    Mutant(
        "compiled zones: what requires and brings nothing begins a block",
        _COMPILED_ZONES,
        "(requires[root] >= 0 or produces[root] < 0):",
        "requires[root] >= 0:",
        "a ping may stand anywhere, between a write and its read as well: it is in no block",
        "tables",
    ),
    Mutant(
        "compiled zones: what requires and brings nothing stands first",
        _COMPILED_ZONES,
        "np.concatenate([np.arange(1, len(order) + 1), places[ahead]])",
        "np.concatenate([np.arange(1, len(order) + 1), 0 * places[ahead]])",
        "it changes nothing, but it has its place in time",
        "tables",
    ),
    Mutant(
        "compiled zones: a value with several producers",
        _COMPILED_ZONES,
        "            if values[made, _PRODUCER] != -1:\n                return _REPEATED\n",
        "",
        "the theorem asks for one producer of each value that somebody asks for",
    ),
    Mutant(
        "compiled zones: a value is taken twice",
        _COMPILED_ZONES,
        "            if values[asked, _TAKER] >= 0:\n",
        "            if False:\n",
        "two cas from a value that was brought once: a lost update",
        "unique",
    ),
    Mutant(
        "compiled zones: the order inside a block does not count",
        _COMPILED_ZONES,
        "if returned[first] < block[_STARTS]:",
        "if False:",
        "a read that returned before the write of its value was invoked",
        "unique",
    ),
    Mutant(
        "compiled zones: only the block before counts",
        _COMPILED_ZONES,
        "if blocks[block, _STARTS] > blocks[latest, _STARTS]:",
        "if True:",
        "blocks conflict with every earlier one that starts later, not only with the last one",
        "unique",
    ),
]

_APPENDS = "checker.transactions.appends"
_CYCLES = "checker.transactions.cycles"

TRANSACTIONS = [
    Mutant(
        "transactions: no real time",
        _CYCLES,
        "    if not late:\n        return\n",
        "    return\n",
        "strict serializability orders what returned before what was invoked later",
        "transactions",
    ),
    Mutant(
        "transactions: the order of versions reversed",
        _APPENDS,
        "edges.extend(table.owner[before], table.owner[after], kernels.WW, after)",
        "edges.extend(table.owner[after], table.owner[before], kernels.WW, after)",
        "a later element of a list was appended later",
        "transactions",
    ),
    Mutant(
        "transactions: no anti-dependencies",
        _APPENDS,
        "    known = (overwritten < versions.first[table.key[reads] + 1]) & ~own\n",
        "    known = (overwritten < versions.first[table.key[reads] + 1]) & False\n",
        "who misses an element came before who appended it (rw)",
        "transactions",
    ),
    Mutant(
        "transactions: what was read of an unanswered one did not commit",
        _APPENDS,
        "findings.committed[owners[table.status[owners] == UNKNOWN]] = True",
        "findings.committed[owners[table.status[owners] == UNKNOWN]] = False",
        "an append that was read took effect, and its transaction with it",
        "transactions",
    ),
    Mutant(
        "transactions: reads of failed appends are fine",
        _APPENDS,
        "    if not len(failed):\n        return\n",
        "    return\n",
        "G1a, an aborted read: fail means that it certainly did not happen",
        "transactions",
    ),
]

ALL = [*TWINS, *KERNELS, *TRANSACTIONS]
"""All wrong checkers."""

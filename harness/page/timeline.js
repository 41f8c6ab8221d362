// What moves a timeline and what it tells: pointer, wheel, keyboard, buttons, and the table of the counterexample.
"use strict";
((page) => {
  const { OPERATION_COLOURS, arrange, draw, endOf, isShown, newTimeline, newestTerm, onScheme, palette, redraw, timeAt, visible, xOf } = page;

  /* ---- Moving ---- */

  function show(view, from, to) {
    const least = 200, whole = view.whole[1] * 1.02;
    const span = Math.min(Math.max(to - from, least), whole);
    view.from = Math.min(Math.max(from, -whole * 0.01), whole - span);
    view.to = view.from + span;
    hideTip(view);
    redraw(view);
  }

  function zoom(view, factor, x) {
    const anchor = x === undefined ? (view.from + view.to) / 2 : timeAt(view, x);
    show(view, anchor - (anchor - view.from) * factor, anchor + (view.to - anchor) * factor);
  }

  function pan(view, share) {
    const by = (view.to - view.from) * share;
    show(view, view.from + by, view.to + by);
  }

  function select(view, op) {
    if (op === undefined || op < 0) return;
    if (!isShown(view, op)) setKey(view, view.operations.key[op]);
    view.selected = op;
    const start = view.operations.start[op], end = Math.min(endOf(view, op), start + 4 * (view.to - view.from));
    if (start < view.from || end > view.to) {
      const span = Math.max(view.to - view.from, (end - start) * 1.6);
      show(view, (start + end) / 2 - span * 0.6, (start + end) / 2 + span * 0.4);
    }
    view.told.textContent = describe(view, op).replaceAll("\n", " · ");
    redraw(view);
  }

  function setKey(view, key) {
    view.key = key;
    const list = view.root.querySelector("select[data-do=key]");
    if (list) list.value = String(key);
    arrange(view);
    redraw(view);
  }

  function nextCore(view, step) {
    const { core } = view.data;
    if (!core.length) return;
    const place = core.indexOf(view.selected);
    select(view, core[(place + step + core.length) % core.length]);
  }

  function firstImpossible(view) {
    if (view.data.first < 0) return;
    setKey(view, view.data.key);
    show(view, view.data.open[0], view.data.open[1]);
    select(view, view.data.first);
  }

  const ACTIONS = {
    first: firstImpossible,
    whole: (view) => show(view, ...view.whole),
    in: (view) => zoom(view, 0.6),
    out: (view) => zoom(view, 1 / 0.6),
    left: (view) => pan(view, -0.3),
    right: (view) => pan(view, 0.3),
  };

  const KEYS = {
    ArrowLeft: ACTIONS.left, ArrowRight: ACTIONS.right, ArrowUp: ACTIONS.in, ArrowDown: ACTIONS.out, "+": ACTIONS.in, "=": ACTIONS.in,
    "-": ACTIONS.out, 0: ACTIONS.whole, Home: ACTIONS.whole, f: ACTIONS.first, Enter: ACTIONS.first,
    n: (view) => nextCore(view, 1), p: (view) => nextCore(view, -1), Escape: hideTip,
  };

  /* ---- Pointing ---- */

  function seconds(time) {
    return `${(time / 1e6).toFixed(4)} s`;
  }

  function describe(view, op) {
    const { operations, data } = view;
    const start = operations.start[op], length = operations.length[op], type = OPERATION_COLOURS[operations.type[op]];
    const words = { ok: "ok", fail: "failed: it did not happen", info: "unknown: it may take effect at any later time" }[type];
    const lines = [
      `${operations.label[op]}   (key ${data.keys[operations.key[op]]})`,
      `process ${operations.process[op]}, event ${operations.index[op]}: ${words}`,
      length < 0 ? `${seconds(start)}, never answered` : `${seconds(start)} to ${seconds(start + length)}, ${(length / 1000).toFixed(2)} ms`,
      data.notes[operations.note[op]],
    ];
    if (op === data.first) lines.unshift("The first impossible operation");
    return lines.filter(Boolean).join("\n");
  }

  function spanText(span) {
    return `${seconds(span.start)} to ${span.end === null ? "the end" : seconds(span.end)}`;
  }

  function faultText(fault) {
    const bit = fault.bit ? "shown to bite" : "never shown to bite", healed = fault.healed ? "shown healed" : "never shown healed";
    return `${fault.id}: ${fault.says}\n${fault.who}\n${spanText(fault)}\n${bit}, ${healed}`;
  }

  function leadershipText(view, span, time) {
    const newest = newestTerm(view, time);
    const words = `${span.node} took itself for the leader of term ${span.term}\n${spanText(span)}`;
    return newest > span.term ? `${words}\nby then term ${newest} had a leader` : words;
  }

  const outageText = (span) => `${span.node} ${span.family === "kill" ? "was down" : "was paused"}\n${spanText(span)}`;

  const POINT_ROW = {
    faults: (view, row, time) => view.data.faults.filter((fault) => fault.family === row.family && covers(fault, time)).map(faultText),
    elected: (view, row, time) => view.data.elected.filter((span) => covers(span, time)).map((span) =>
      `${span.node} won term ${span.term} at ${seconds(span.start)}`),
    node: (view, row, time) => {
      const here = (span) => span.node === row.node && covers(span, time);
      return [...view.data.outages.filter(here).map(outageText), ...view.data.leaders.filter(here).map((span) => leadershipText(view, span, time))];
    },
  };

  const covers = (span, time) => span.start <= time && (span.end === null || span.end >= time);
  const rowAt = (rows, y) => rows.find((row) => y >= row.y && y < row.y + row.height);

  function operationAt(view, x, y) {
    const lane = rowAt(view.lanes, y);
    if (!lane) return -1;
    let best = -1, nearest = 5;
    for (const op of visible(view, lane)) {
      const left = xOf(view, view.operations.start[op]), right = Math.max(left + 2, xOf(view, endOf(view, op)));
      const distance = x < left ? left - x : x > right ? x - right : 0;
      if (distance < nearest || (distance === nearest && view.core.has(op))) { best = op; nearest = distance; }
    }
    return best;
  }

  function wordsAt(view, x, y) {
    if (x < view.gutter) return "";
    const op = operationAt(view, x, y);
    if (op >= 0) return describe(view, op);
    const row = rowAt(view.rows, y);
    return row ? POINT_ROW[row.kind](view, row, timeAt(view, x))[0] || "" : "";
  }

  function hideTip(view) {
    view.tip.hidden = true;
  }

  function point(view, event) {
    const words = wordsAt(view, event.offsetX, event.offsetY);
    view.tip.hidden = !words;
    if (!words) return;
    view.tip.textContent = words;
    const left = Math.min(event.offsetX + 14, view.width - view.tip.offsetWidth - 8);
    const below = event.offsetY + 18, above = event.offsetY - view.tip.offsetHeight - 10;
    const stage = view.canvas.parentElement, bottom = stage.scrollTop + stage.clientHeight;
    view.tip.style.left = `${Math.max(4, left)}px`;
    view.tip.style.top = `${below + view.tip.offsetHeight > bottom && above > stage.scrollTop ? above : below}px`;
  }

  /* ---- Wiring ---- */

  function wirePointer(view) {
    let held = null;
    view.canvas.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, from: view.from, to: view.to, moved: false };
      view.canvas.setPointerCapture(event.pointerId);
      view.canvas.classList.add("moving");
    });
    view.canvas.addEventListener("pointermove", (event) => {
      if (!held) return point(view, event);
      const by = (held.x - event.offsetX) / (view.width - view.gutter) * (held.to - held.from);
      held.moved = held.moved || Math.abs(held.x - event.offsetX) > 3;
      return show(view, held.from + by, held.to + by);
    });
    const release = (event) => {
      if (held && !held.moved) select(view, operationAt(view, event.offsetX, event.offsetY));
      held = null;
      view.canvas.classList.remove("moving");
    };
    view.canvas.addEventListener("pointerup", release);
    view.canvas.addEventListener("pointercancel", () => { held = null; });
    view.canvas.addEventListener("pointerleave", () => hideTip(view));
    view.canvas.addEventListener("dblclick", (event) => zoom(view, 0.4, event.offsetX));
  }

  /* The wheel scrolls the page unless the timeline was asked for: by a click on it, or by Ctrl. */
  function wireWheel(view) {
    view.canvas.addEventListener("wheel", (event) => {
      const asked = event.ctrlKey || event.metaKey || document.activeElement === view.canvas;
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { event.preventDefault(); pan(view, event.deltaX / view.width); return; }
      if (!asked) return;
      event.preventDefault();
      zoom(view, Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.005), event.offsetX);
    }, { passive: false });
  }

  function wireKeyboard(view) {
    view.canvas.addEventListener("keydown", (event) => {
      const action = KEYS[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      action(view);
    });
  }

  function wireOverview(view) {
    const centre = (event) => {
      const room = view.overview.clientWidth - view.gutter, half = (view.to - view.from) / 2;
      const time = (event.offsetX - view.gutter) / room * view.whole[1];
      show(view, time - half, time + half);
    };
    view.overview.addEventListener("pointerdown", (event) => { view.overview.setPointerCapture(event.pointerId); centre(event); });
    view.overview.addEventListener("pointermove", (event) => { if (event.buttons) centre(event); });
  }

  function wireControls(view) {
    for (const button of view.root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => ACTIONS[button.dataset.do](view));
      if (button.dataset.do === "first") button.hidden = view.data.first < 0;
    }
    const list = view.root.querySelector("select[data-do=key]");
    if (!list) return;
    list.append(new Option("all keys, a lane a client", "-1"));
    const keys = view.data.keys.map((key, place) => [key, place]);
    keys.sort((a, b) => a[0].localeCompare(b[0], undefined, { numeric: true }));
    for (const [key, place] of keys) list.append(new Option(place === view.data.key ? `${key} (violated)` : key, String(place)));
    list.value = String(view.key);
    list.addEventListener("change", () => setKey(view, Number(list.value)));
  }

  function wireTable(view) {
    for (const row of document.querySelectorAll("tr[data-index]")) {
      const go = () => select(view, view.operations.index.indexOf(Number(row.dataset.index)));
      row.addEventListener("click", go);
      row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    }
  }

  function tellThatSomeAreCounts(view) {
    const item = document.createElement("li");
    item.textContent = `the ${view.count.toLocaleString("en")} nearest operations are drawn one by one, the others as columns`;
    view.root.querySelector(".legend").append(item);
  }

  function startTimeline(data) {
    if (!data) return;
    const view = newTimeline(JSON.parse(data));
    for (const wire of [wirePointer, wireWheel, wireKeyboard, wireOverview, wireControls, wireTable]) wire(view);
    new ResizeObserver(() => redraw(view)).observe(view.canvas.parentElement);
    onScheme(() => { view.colours = palette(); redraw(view); });
    if (!view.data.whole) tellThatSomeAreCounts(view);
    draw(view);
  }

  page.startTimeline = startTimeline;
})(window.Splitbrain);

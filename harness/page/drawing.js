// Draws a timeline on its canvas: rows of faults, leaders and nodes, lanes of clients, and the whole run in one strip.
"use strict";
((page) => {
  const { INFO, RULER, GAP, ROW, OVERVIEW, endOf } = page;
  const OPERATION_COLOURS = ["ok", "fail", "info"], FLAG = 84;

  function sized(canvas, height) {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width };
  }

  const gutterOf = (width) => (width < 620 ? 74 : 112);
  const xOf = (view, time) => view.gutter + (time - view.from) / (view.to - view.from) * (view.width - view.gutter);
  const timeAt = (view, x) => view.from + (x - view.gutter) / (view.width - view.gutter) * (view.to - view.from);

  function redraw(view) {
    if (view.frame) return;
    view.frame = requestAnimationFrame(() => { view.frame = 0; draw(view); });
  }

  function draw(view) {
    const { context, width } = sized(view.canvas, view.height);
    Object.assign(view, { context, width, gutter: gutterOf(width) });
    context.textBaseline = "middle";
    context.save();
    context.beginPath();
    context.rect(view.gutter, 0, width - view.gutter, view.height);
    context.clip();
    drawBands(view);
    drawShade(view);
    drawRuler(view);
    for (const row of view.rows) DRAW_ROW[row.kind](view, row);
    drawOutside(view);
    drawLanes(view);
    drawMoment(view);
    context.restore();
    drawLabels(view);
    drawOverview(view);
  }

  const spanX = (view, span) => [xOf(view, Math.max(span.start, view.from - 1e5)), xOf(view, span.end === null ? view.whole[1] : span.end)];
  const familyColour = (view, family) => view.colours[family] || view.colours.other;

  function drawBands(view) {
    const { context } = view;
    for (const fault of view.data.faults) {
      const [left, right] = spanX(view, fault);
      context.globalAlpha = 0.22;
      context.fillStyle = familyColour(view, fault.family);
      context.fillRect(left, RULER, Math.max(1, right - left), view.height - RULER);
    }
    context.globalAlpha = 1;
  }

  function tickStep(span, room) {
    const rough = span / Math.max(2, room / 90);
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  }

  function timeText(time, step) {
    const digits = Math.min(6, Math.max(0, Math.ceil(6 - Math.log10(step))));
    return `${(time / 1e6).toFixed(digits)} s`;
  }

  function drawRuler(view) {
    const { context, colours } = view;
    const step = Math.max(1, tickStep(view.to - view.from, view.width - view.gutter));
    context.font = `12px ${colours.sans}`;
    context.textAlign = "center";
    const flag = view.data.first >= 0 ? impossibleX(view)[0] : 0;
    for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
      const x = xOf(view, time);
      context.fillStyle = colours.line;
      context.fillRect(Math.round(x), RULER - 4, 1, view.height);
      const words = timeText(time, step), half = context.measureText(words).width / 2 + 3;
      if (view.data.first >= 0 && x + half > flag && x - half < flag + FLAG) continue;
      context.fillStyle = colours.soft;
      context.fillText(words, Math.min(Math.max(x, view.gutter + half), view.width - half), 11);
    }
  }

  function bar(view, left, right, y, height, colour) {
    view.context.fillStyle = colour;
    view.context.fillRect(left, y, Math.max(1.5, right - left), height);
  }

  /* A label stays in sight while its bar is: it begins at the left edge of what can be seen. */
  function barText(view, text, left, right, middle, colour) {
    const from = Math.max(left, view.gutter) + 5;
    const room = Math.min(right, view.width) - from - 3;
    if (room < 30 && room < view.context.measureText(text).width) return;
    view.context.fillStyle = colour;
    view.context.textAlign = "left";
    view.context.fillText(clipped(view, text, room), from, middle + 0.5);
  }

  function clipped(view, text, room) {
    if (view.context.measureText(text).width <= room) return text;
    let low = 0, high = text.length;
    while (low < high) {
      const half = Math.ceil((low + high) / 2);
      if (view.context.measureText(`${text.slice(0, half)}…`).width <= room) low = half; else high = half - 1;
    }
    return low > 1 ? `${text.slice(0, low)}…` : "";
  }

  const DRAW_ROW = {
    faults(view, row) {
      view.context.font = `12px ${view.colours.sans}`;
      for (const fault of view.data.faults) {
        if (fault.family !== row.family) continue;
        const [left, right] = spanX(view, fault);
        bar(view, left, right, row.y + 2, row.height - 4, familyColour(view, fault.family));
        barText(view, `${fault.says}: ${fault.who}`, left, right, row.y + row.height / 2, "#191c22");
      }
    },
    elected(view, row) {
      view.context.font = `600 12px ${view.colours.sans}`;
      for (const span of view.data.elected) {
        const [left, right] = spanX(view, span);
        bar(view, left + 1, right, row.y + 2, row.height - 4, view.colours.leader);
        barText(view, `${span.node}, term ${span.term}`, left, right, row.y + row.height / 2, "#fff");
      }
    },
    node(view, row) {
      drawNode(view, row);
    },
  };

  const newestTerm = (view, time) => view.data.elected.reduce((term, span) => (span.start <= time ? Math.max(term, span.term) : term), 0);

  /* A line while the node lives, a bar while it takes itself for the leader (red once another term has begun), gaps while it is down. */
  function drawNode(view, row) {
    const { context, colours, data } = view;
    const middle = row.y + row.height / 2;
    bar(view, view.gutter, view.width, middle - 0.75, 1.5, colours.faint);
    for (const span of data.leaders.filter((each) => each.node === row.node)) drawLeadership(view, row, span);
    for (const span of data.outages.filter((each) => each.node === row.node)) {
      const [left, right] = spanX(view, span);
      bar(view, left, right, row.y + 2, row.height - 4, familyColour(view, span.family));
      context.font = `12px ${colours.sans}`;
      barText(view, span.family === "kill" ? "down" : "paused", left, right, middle, "#191c22");
    }
  }

  function drawLeadership(view, row, span) {
    const end = span.end === null ? view.whole[1] : span.end;
    const next = view.data.elected.filter((each) => each.term > span.term && each.start > span.start).map((each) => each.start);
    const deposed = Math.min(end, ...next);
    const draw = (start, until, colour, words) => {
      if (until <= start) return;
      const [left, right] = spanX(view, { start, end: until });
      bar(view, left, right, row.y + 2, row.height - 4, colour);
      view.context.font = `12px ${view.colours.sans}`;
      barText(view, words, left, right, row.y + row.height / 2, "#fff");
    };
    draw(span.start, deposed, view.colours.leader, `leads term ${span.term}`);
    draw(deposed, end, view.colours.deposed, `still believes it leads term ${span.term}`);
  }

  /* Where operations were not sent one by one, columns stand for them: the more ended then, the stronger. */
  function drawOutside(view) {
    const { data, context, colours } = view, { density } = data;
    if (data.whole || (data.key >= 0 && view.key === data.key)) return; // of the key in question every operation was sent
    const wholes = density.ok.map((ok, slice) => ok + density.info[slice] + density.fail[slice]), most = Math.max(1, ...wholes);
    wholes.forEach((whole, slice) => {
      const start = slice * density.width, end = start + density.width;
      if (!whole || end < view.from || start > view.to || (start >= data.window[0] && end <= data.window[1])) return;
      context.globalAlpha = 0.12 + 0.4 * Math.sqrt(whole / most);
      let y = view.height;
      for (const type of OPERATION_COLOURS) {
        const height = density[type][slice] / whole * (view.height - view.clientsTop);
        y -= height;
        bar(view, xOf(view, start), xOf(view, end), y, height, colours[type]);
      }
      context.globalAlpha = 1;
    });
  }

  function drawLanes(view) {
    const { context, colours } = view;
    context.font = `12px ${colours.sans}`;
    for (const lane of view.lanes) {
      context.fillStyle = colours.line;
      context.fillRect(view.gutter, lane.y + lane.height - 0.5, view.width - view.gutter, 0.5);
      for (const op of lane.operations) drawTail(view, lane, op);
    }
    for (const lane of view.lanes) {
      const near = visible(view, lane);
      lane.wordsEnd = view.gutter;
      near.forEach((op, place) => drawOperation(view, lane, op, near.slice(place + 1).find((next) => !view.core.has(op) || view.core.has(next))));
      if (lane.strong) tellOfEarlier(view, lane, near);
    }
  }

  /* A counterexample may reach further back than what is in sight: its lane says what came before. */
  function tellOfEarlier(view, lane, near) {
    const earlier = lane.operations.filter((op) => view.core.has(op) && endOf(view, op) < view.from).at(-1);
    if (earlier === undefined) return;
    const { context, operations, colours } = view, room = near.length ? xOf(view, operations.start[near[0]]) - view.gutter - 16 : view.width;
    const text = `← ${operations.label[earlier]}, at ${(operations.start[earlier] / 1e6).toFixed(2)} s`;
    context.font = `600 12px ${colours.sans}`;
    if (context.measureText(text).width < room) freeText(view, text, view.gutter + 6, lane.y + lane.height / 2);
  }

  function visible(view, lane) {
    const { operations } = view;
    return lane.operations.filter((op) => operations.start[op] <= view.to && endOf(view, op) >= view.from);
  }

  /* An operation whose end nobody knows may take effect at any later time: it stays open to the right. */
  function drawTail(view, lane, op) {
    const { context, colours, operations } = view;
    if (operations.type[op] !== INFO || operations.start[op] > view.to) return;
    const left = Math.max(view.gutter, xOf(view, endOf(view, op))), core = view.core.has(op);
    const middle = lane.y + lane.height / 2;
    context.strokeStyle = colours.info;
    context.globalAlpha = core ? 1 : 0.35;
    context.lineWidth = core ? 2 : 1;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(left, middle);
    context.lineTo(view.width, middle);
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  function drawOperation(view, lane, op, next) {
    const { context, colours, operations, data } = view;
    const left = xOf(view, operations.start[op]), right = Math.max(left + 2, xOf(view, endOf(view, op)));
    const core = view.core.has(op), dim = view.core.size > 0 && !core;
    const y = lane.y + 2, height = lane.height - 4;
    context.globalAlpha = dim ? 0.5 : 1;
    bar(view, left, right, y, height, colours[OPERATION_COLOURS[operations.type[op]]]);
    context.globalAlpha = 1;
    if (core) outline(view, left, right, y, height, op === data.first ? colours.violation : colours.mark, op === data.first ? 3 : 1.5);
    if (op === view.selected && op !== data.first) outline(view, left - 2, right + 2, y - 2, height + 4, colours.accent, 2);
    if (lane.height < ROW) return;
    operationText(view, lane, op, left, right, next === undefined ? view.width : xOf(view, operations.start[next]));
  }

  function outline(view, left, right, y, height, colour, thickness) {
    view.context.strokeStyle = colour;
    view.context.lineWidth = thickness;
    view.context.strokeRect(left, y, Math.max(2, right - left), height);
  }

  /* Words inside the bar where they fit, else in the room before the next one; those of the counterexample always. */
  function operationText(view, lane, op, left, right, limit) {
    const { context, operations, colours } = view;
    const text = operations.label[op], core = view.core.has(op), middle = lane.y + lane.height / 2;
    context.font = `${core ? "600 " : ""}12px ${colours.sans}`;
    const width = context.measureText(text).width;
    const seen = Math.min(right, view.width) - Math.max(left, view.gutter);
    const before = left - 8 - lane.wordsEnd, after = Math.min(limit, view.width) - right - 8;
    lane.wordsEnd = Math.max(lane.wordsEnd, right);
    if (width + 10 <= seen) barText(view, text, left, right, middle, "#12151a");
    else if (width <= after || (core && after >= before)) {
      freeText(view, clipped(view, text, after), right + 6, middle);
      lane.wordsEnd = right + 6 + Math.min(width, after);
    } else if (core) freeText(view, clipped(view, text, before), left - 6 - Math.min(width, before), middle);
    else if (seen > 40) barText(view, text, left, right, middle, "#12151a");
  }

  function freeText(view, text, x, middle) {
    view.context.fillStyle = view.colours.ink;
    view.context.textAlign = "left";
    view.context.fillText(text, x, middle + 0.5);
  }

  const impossibleX = (view) => {
    const left = xOf(view, view.operations.start[view.data.first]);
    return [left, Math.max(left + 2, xOf(view, endOf(view, view.data.first)))];
  };

  /* The moment that the whole page is about: a shade behind every lane, a line through them, and a flag on the ruler. */
  function drawShade(view) {
    if (view.data.first < 0) return;
    const [left, right] = impossibleX(view);
    view.context.globalAlpha = 0.16;
    bar(view, left, right, RULER, view.height - RULER, view.colours.violation);
    view.context.globalAlpha = 1;
  }

  function drawMoment(view) {
    const { context, colours, data } = view;
    if (data.first < 0) return;
    const [left] = impossibleX(view);
    if (left < view.gutter || left > view.width) return;
    bar(view, left - 0.75, left + 0.75, RULER - 2, view.height, colours.violation);
    context.font = `600 12px ${colours.sans}`;
    context.fillRect(left - 0.75, 2, FLAG, 18);
    context.fillStyle = "#fff";
    context.textAlign = "left";
    context.fillText("impossible", left + 5, 11.5);
  }

  function drawLabels(view) {
    const { context, colours } = view;
    context.fillStyle = colours.surface;
    context.fillRect(0, 0, view.gutter - 1, view.height);
    context.fillStyle = colours.line;
    context.fillRect(view.gutter - 1, 0, 1, view.height);
    context.fillRect(0, view.clientsTop - GAP / 2, view.width, 1);
    context.textAlign = "right";
    for (const row of [...view.rows, ...view.lanes]) {
      context.font = `${row.strong ? "600 " : ""}12px ${colours.sans}`;
      context.fillStyle = row.strong ? colours.ink : colours.soft;
      context.fillText(clipped(view, row.label, view.gutter - 12), view.gutter - 8, row.y + row.height / 2 + 0.5);
    }
  }

  /* The whole run in one strip: how many operations ended when, under which fault; the window shows what is drawn below. */
  function drawOverview(view) {
    const { context, width } = sized(view.overview, OVERVIEW);
    const { colours, data, gutter } = view;
    const at = (time) => gutter + time / view.whole[1] * (width - gutter);
    const until = (span) => at(span.end === null ? view.whole[1] : span.end);
    for (const fault of data.faults) {
      context.globalAlpha = 0.55;
      context.fillStyle = familyColour(view, fault.family);
      context.fillRect(at(fault.start), 0, Math.max(1, until(fault) - at(fault.start)), OVERVIEW);
    }
    context.globalAlpha = 1;
    drawDensity(view, context, at);
    drawWindow(view, context, at, width);
    context.fillStyle = colours.soft;
    context.font = `12px ${colours.sans}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText("whole run", gutter - 8, OVERVIEW / 2);
  }

  /* Square roots: the burst after an outage must not flatten everything else. */
  function drawDensity(view, context, at) {
    const { density } = view.data, slice = at(density.width) - at(0);
    const wholes = density.ok.map((ok, place) => ok + density.info[place] + density.fail[place]);
    const most = Math.sqrt(Math.max(1, ...wholes));
    wholes.forEach((whole, place) => {
      let y = OVERVIEW;
      const unit = whole ? Math.sqrt(whole) / most * (OVERVIEW - 5) / whole : 0;
      for (const type of OPERATION_COLOURS) {
        const height = density[type][place] * unit;
        y -= height;
        context.fillStyle = view.colours[type];
        context.fillRect(at(place * density.width), y, Math.max(1, slice - 0.2), height);
      }
    });
  }

  function drawWindow(view, context, at, width) {
    const left = Math.max(view.gutter, at(view.from)), right = Math.max(left + 3, at(view.to));
    context.fillStyle = view.colours.surface;
    context.globalAlpha = 0.55;
    context.fillRect(view.gutter, 0, left - view.gutter, OVERVIEW);
    context.fillRect(right, 0, width - right, OVERVIEW);
    context.globalAlpha = 1;
    context.strokeStyle = view.colours.accent;
    context.lineWidth = 2;
    context.strokeRect(left, 1, Math.min(right, width - 1) - left, OVERVIEW - 2);
    if (view.data.first >= 0) {
      context.fillStyle = view.colours.violation;
      context.fillRect(at(view.operations.start[view.data.first]) - 1, 0, 2, OVERVIEW);
    }
  }

  Object.assign(page, { OPERATION_COLOURS, draw, redraw, xOf, timeAt, visible, newestTerm });
})(window.Splitbrain);

// Draws what Python computed: the timeline on a canvas, the charts, and the buttons that copy. Nothing is decided here.
"use strict";
(() => {
  const OK = 0, FAIL = 1, INFO = 2;
  const RULER = 24, ROW = 20, NODE_ROW = 20, GAP = 8, LANE = 20, THIN_LANE = 13, OVERVIEW = 46, MOST_PROCESSES = 12;
  const byId = (id) => document.getElementById(id);

  /* Buttons that copy a command; pages opened from a file have no clipboard API everywhere. */
  function copyText(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("copying is not allowed here"));
  }

  function wireCopyButtons() {
    for (const button of document.querySelectorAll("button.copy")) {
      button.addEventListener("click", () => {
        const tell = (words) => { button.textContent = words; setTimeout(() => { button.textContent = "Copy"; }, 1600); };
        copyText(button.dataset.copy).then(() => tell("Copied"), () => tell("Press Ctrl C"));
      });
    }
  }

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const colours = {};
    for (const name of ["ground", "surface", "raised", "ink", "soft", "faint", "line", "accent", "violation", "ok", "info", "fail",
      "mark", "partition", "kill", "pause", "other", "leader", "deposed", "sans", "mono"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    return colours;
  }

  /* ---- The timeline: its state, and functions over it ---- */

  function newTimeline(data) {
    const root = byId("timeline");
    const view = {
      data, root, operations: data.operations, count: data.operations.start.length,
      canvas: root.querySelector("canvas.lanes"), overview: root.querySelector("canvas.overview"),
      tip: root.querySelector(".tip"), told: root.querySelector(".told"),
      from: data.open[0], to: data.open[1], key: data.key, core: new Set(data.core), selected: data.first,
      rows: [], lanes: [], laneOf: new Int32Array(data.operations.start.length), colours: palette(), hover: null, frame: 0,
    };
    view.whole = [0, Math.max(data.end, data.open[1])];
    view.longest = data.operations.length.reduce((most, length) => Math.max(most, length), 1);
    arrange(view);
    return view;
  }

  const endOf = (view, op) => {
    const length = view.operations.length[op];
    return length < 0 ? view.whole[1] : view.operations.start[op] + length;
  };
  const isShown = (view, op) => view.key < 0 || view.operations.key[op] === view.key || view.core.has(op);

  /* Rows from top to bottom: one a family of faults, the leader, the nodes, then lanes of clients. */
  function arrange(view) {
    const { data } = view;
    const families = [...new Set(data.faults.map((fault) => fault.family))];
    view.rows = [];
    let y = RULER + 4;
    const add = (row, height) => { view.rows.push({ ...row, y, height }); y += height; };
    for (const family of families) add({ kind: "faults", family, label: family }, ROW);
    if (data.elected.length) add({ kind: "elected", label: "leader" }, ROW);
    for (const node of data.nodes) add({ kind: "node", node, label: node }, NODE_ROW);
    y += GAP;
    view.clientsTop = y;
    assignLanes(view);
    const height = view.lanes.length > 24 ? THIN_LANE : LANE;
    for (const lane of view.lanes) { lane.y = y; lane.height = height; y += height; }
    view.height = y + 6;
  }

  /* Operations of the counterexample have a lane a process. The others: a lane a worker, or, for one key, as few as will do. */
  function assignLanes(view) {
    const { operations } = view;
    const lanes = [], named = new Map(), packed = [];
    view.laneOf.fill(-1);
    const laneFor = (name, label, strong) => {
      if (!named.has(name)) { named.set(name, lanes.length); lanes.push({ label, strong, operations: [] }); }
      return named.get(name);
    };
    for (const op of coreWithLanes(view)) {
      view.laneOf[op] = laneFor(`p${operations.process[op]}`, `process ${operations.process[op]}`, true);
    }
    const workers = view.key < 0 ? [...new Set(operations.worker)].sort((a, b) => a - b) : [];
    for (const worker of workers) laneFor(`w${worker}`, `client ${worker}`, false);
    for (let op = 0; op < view.count; op += 1) {
      if (!isShown(view, op)) continue;
      if (view.laneOf[op] < 0) view.laneOf[op] = view.key < 0 ? named.get(`w${operations.worker[op]}`) : pack(view, op, packed, lanes);
      lanes[view.laneOf[op]].operations.push(op);
    }
    view.lanes = lanes;
  }

  /* Of a large counterexample the processes whose operations came last have lanes of their own. */
  function coreWithLanes(view) {
    const { start, process } = view.operations, newest = [...view.core].sort((a, b) => start[b] - start[a]);
    const processes = new Set(newest.slice(0, MOST_PROCESSES).map((op) => process[op]));
    return newest.filter((op) => processes.has(process[op])).reverse();
  }

  function pack(view, op, packed, lanes) {
    const start = view.operations.start[op];
    let place = packed.findIndex((lane) => lane.busyUntil < start);
    if (place < 0) {
      place = packed.length;
      packed.push({ busyUntil: 0, lane: lanes.length });
      lanes.push({ label: place === 0 ? (view.core.size ? "other clients" : "clients") : "", strong: false, operations: [] });
    }
    packed[place].busyUntil = endOf(view, op);
    return packed[place].lane;
  }

  /* ---- Drawing ---- */

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
    for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
      const x = xOf(view, time);
      context.fillStyle = colours.line;
      context.fillRect(Math.round(x), RULER - 4, 1, view.height);
      const words = timeText(time, step), half = context.measureText(words).width / 2 + 3;
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

  /* Where operations were not sent one by one, their number stands for them. */
  function drawOutside(view) {
    const { data, context, colours } = view;
    if (data.whole) return;
    const most = Math.max(1, ...data.density.ok);
    data.density.ok.forEach((ok, slice) => {
      const start = slice * data.density.width, end = start + data.density.width;
      if (end < view.from || start > view.to || (start >= data.window[0] && end <= data.window[1])) return;
      const height = ok / most * (view.height - view.clientsTop - 10);
      context.globalAlpha = 0.25;
      bar(view, xOf(view, start), xOf(view, end), view.height - height, height, colours.ok);
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
      near.forEach((op, place) => drawOperation(view, lane, op, near[place + 1]));
    }
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

  const OPERATION_COLOURS = ["ok", "fail", "info"];

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
    if (lane.height < LANE) return;
    operationText(view, lane, op, left, right, next === undefined ? view.width : xOf(view, operations.start[next]));
  }

  function outline(view, left, right, y, height, colour, thickness) {
    view.context.strokeStyle = colour;
    view.context.lineWidth = thickness;
    view.context.strokeRect(left, y, Math.max(2, right - left), height);
  }

  /* Words inside the bar where they fit, else in the room before the next one. */
  function operationText(view, lane, op, left, right, limit) {
    const { context, operations, colours } = view;
    const text = operations.label[op], core = view.core.has(op), middle = lane.y + lane.height / 2;
    context.font = `${core ? "600 " : ""}12px ${colours.sans}`;
    const width = context.measureText(text).width;
    const seen = Math.min(right, view.width) - Math.max(left, view.gutter);
    if (width + 10 <= seen) return barText(view, text, left, right, middle, "#12151a");
    if (core && right + 8 + width > view.width && left - width - 8 > view.gutter) return freeText(view, text, left - width - 8, middle, left);
    const room = Math.min(limit, view.width) - right - 8;
    if (core || width <= room) return freeText(view, clipped(view, text, core ? Math.max(room, 260) : room), right + 6, middle, view.width);
    if (seen > 40) barText(view, text, left, right, middle, "#12151a");
    return undefined;
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
    bar(view, left - 0.75, left + 0.75, RULER - 2, view.height, colours.violation);
    context.font = `600 12px ${colours.sans}`;
    const words = "impossible", width = context.measureText(words).width + 12;
    context.fillRect(left - 0.75, 2, width, 18);
    context.fillStyle = "#fff";
    context.textAlign = "left";
    context.fillText(words, left + 5, 11.5);
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

  const POINT_ROW = {
    faults: (view, row, time) => view.data.faults.filter((fault) => fault.family === row.family && covers(fault, time)).map((fault) =>
      `${fault.id}: ${fault.says}\n${fault.who}\n${spanText(fault)}\n${fault.bit ? "shown to bite" : "never shown to bite"}, ${fault.healed ? "shown healed" : "never shown healed"}`),
    elected: (view, row, time) => view.data.elected.filter((span) => covers(span, time)).map((span) =>
      `${span.node} won term ${span.term} at ${seconds(span.start)}`),
    node: (view, row, time) => [
      ...view.data.outages.filter((span) => span.node === row.node && covers(span, time)).map((span) => `${row.node} ${span.family === "kill" ? "was down" : "was paused"}\n${spanText(span)}`),
      ...view.data.leaders.filter((span) => span.node === row.node && covers(span, time)).map((span) =>
        `${row.node} took itself for the leader of term ${span.term}\n${spanText(span)}${newestTerm(view, time) > span.term ? `\nby then term ${newestTerm(view, time)} had a leader` : ""}`),
    ].slice(0, 1),
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

  function startTimeline() {
    const source = byId("timeline-data");
    if (!source) return;
    const view = newTimeline(JSON.parse(source.textContent));
    for (const wire of [wirePointer, wireWheel, wireKeyboard, wireOverview, wireControls, wireTable]) wire(view);
    new ResizeObserver(() => redraw(view)).observe(view.canvas.parentElement);
    onScheme(() => { view.colours = palette(); redraw(view); });
    draw(view);
  }

  /* ---- Charts ---- */

  function onScheme(act) {
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
  }

  function chartTheme() {
    const colours = palette();
    const text = { labelColor: colours.soft, titleColor: colours.soft, labelFont: colours.sans, titleFont: colours.sans, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
    return {
      background: null, font: colours.sans, view: { stroke: null },
      axis: { ...text, gridColor: colours.line, domainColor: colours.line, tickColor: colours.line },
      legend: { ...text, symbolType: "square", direction: "horizontal", orient: "top", titleOrient: "left" },
    };
  }

  async function startCharts() {
    const source = byId("chart-data");
    if (!source || !window.vegaEmbed) return;
    const specifications = JSON.parse(source.textContent);
    const render = () => Promise.all(Object.entries(specifications).map(([name, specification]) =>
      window.vegaEmbed(byId(`chart-${name}`), specification, { actions: false, renderer: "canvas", config: chartTheme() })));
    await render();
    onScheme(render);
  }

  /* Long tables open where it happened: the counterexample at its impossible operation, a log at that moment. */
  function scrollToIt() {
    const impossible = byId("first-impossible"), core = impossible && impossible.closest(".core");
    if (core) core.scrollTop = impossible.offsetTop - core.clientHeight / 2;
    for (const row of document.querySelectorAll(".log tr.at")) {
      const log = row.closest(".log"), centre = () => { log.scrollTop = row.offsetTop - log.clientHeight / 2; };
      centre();
      log.closest("details").addEventListener("toggle", centre);
    }
  }

  wireCopyButtons();
  startTimeline();
  scrollToIt();
  startCharts().catch((error) => { byId("chart-rate").textContent = `The charts could not be drawn: ${error.message}`; });
})();

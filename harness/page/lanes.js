// The state of a timeline, and which operation has which lane; nothing is drawn here.
"use strict";
window.Splitbrain = {};
((page) => {
  const INFO = 2, RULER = 24, GAP = 8, ROW = 20, THIN_LANE = 13, OVERVIEW = 46, MOST_PROCESSES = 12;

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const colours = {};
    for (const name of ["ground", "surface", "raised", "ink", "soft", "faint", "line", "accent", "violation", "ok", "info", "fail",
      "mark", "partition", "kill", "pause", "other", "leader", "deposed", "sans", "mono"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    return colours;
  }

  function onScheme(act) {
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
  }

  function newTimeline(data) {
    const root = document.getElementById("timeline");
    const view = {
      data, root, operations: data.operations, count: data.operations.start.length,
      canvas: root.querySelector("canvas.lanes"), overview: root.querySelector("canvas.overview"),
      tip: root.querySelector(".tip"), told: root.querySelector(".told"),
      from: data.open[0], to: data.open[1], key: data.key, core: new Set(data.core), selected: data.first,
      rows: [], lanes: [], laneOf: new Int32Array(data.operations.start.length), colours: palette(), frame: 0,
    };
    view.whole = [0, Math.max(data.end, data.open[1])];
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
    for (const node of data.nodes) add({ kind: "node", node, label: node }, ROW);
    y += GAP;
    view.clientsTop = y;
    assignLanes(view);
    const height = view.lanes.length > 24 ? THIN_LANE : ROW;
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

  Object.assign(page, { INFO, RULER, GAP, ROW, OVERVIEW, palette, onScheme, newTimeline, endOf, isShown, arrange });
})(window.Splitbrain);

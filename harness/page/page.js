// What every page does when it opens: its timeline, its charts, its logs, and the buttons that copy. Nothing is decided here.
"use strict";
((page) => {
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

  /* What `packed` in report.py wrote: base64 of gzip. */
  async function unpack(id) {
    const element = document.getElementById(id);
    if (!element) return "";
    if (!window.DecompressionStream) throw new Error("this browser is older than 2023 and cannot unpack what the page carries");
    const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function chartTheme() {
    const colours = page.palette();
    const text = {
      labelColor: colours.soft, labelFont: colours.sans, labelFontSize: 12,
      titleColor: colours.soft, titleFont: colours.sans, titleFontSize: 12, titleFontWeight: 500,
    };
    return {
      background: null, font: colours.sans, view: { stroke: null },
      axis: { ...text, gridColor: colours.line, domainColor: colours.line, tickColor: colours.line },
      legend: { ...text, symbolType: "square", direction: "horizontal", orient: "top", titleOrient: "left" },
    };
  }

  async function startCharts() {
    const data = await unpack("chart-data");
    if (!data) return;
    const specifications = JSON.parse(data), vega = document.createElement("script");
    vega.textContent = await unpack("vega");
    document.head.append(vega);
    const render = () => Promise.all(Object.entries(specifications).map(([name, specification]) =>
      window.vegaEmbed(document.getElementById(`chart-${name}`), specification, { actions: false, renderer: "canvas", config: chartTheme() })));
    await render();
    page.onScheme(render);
  }

  /* Long tables open where it happened: the counterexample at its impossible operation, a log at that moment. */
  function scrollToIt() {
    const impossible = document.getElementById("first-impossible"), core = impossible && impossible.closest(".core");
    if (core) core.scrollTop = impossible.offsetTop - core.clientHeight / 2;
    for (const row of document.querySelectorAll(".log tr.at")) {
      const log = row.closest(".log"), centre = () => { log.scrollTop = row.offsetTop - log.clientHeight / 2; };
      centre();
      log.closest("details").addEventListener("toggle", centre);
    }
  }

  /* The timeline first: the charts' library takes a moment to be read, and nobody should wait for it. */
  async function start() {
    const told = (id, what) => (error) => { document.getElementById(id).textContent = `${what} could not be drawn: ${error.message}`; };
    wireCopyButtons();
    scrollToIt();
    await unpack("timeline-data").then(page.startTimeline).catch(told("timeline", "The timeline"));
    await new Promise((resolve) => { setTimeout(resolve); });
    await startCharts().catch(told("chart-rate", "The charts"));
    document.documentElement.dataset.drawn = "yes";
  }

  start();
})(window.Splitbrain);

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
    const source = document.getElementById("chart-data");
    if (!source || !window.vegaEmbed) return;
    const specifications = JSON.parse(source.textContent);
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

  wireCopyButtons();
  page.startTimeline();
  scrollToIt();
  startCharts().catch((error) => { document.getElementById("chart-rate").textContent = `The charts could not be drawn: ${error.message}`; });
})(window.Splitbrain);

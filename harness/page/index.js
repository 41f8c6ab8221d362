// Filters the list of runs: by what is chosen, and by words that must all occur in a row.
"use strict";
(() => {
  const rows = [...document.querySelectorAll("table.runs tbody tr")];
  const search = document.getElementById("search"), shown = document.querySelector(".shown");
  const choices = [...document.querySelectorAll("select[data-filter]")];
  const texts = rows.map((row) => row.textContent.toLowerCase());

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      const chosen = choices.every((choice) => !choice.value || row.dataset[choice.dataset.filter].split(", ").includes(choice.value));
      row.hidden = !(chosen && words.every((word) => texts[place].includes(word)));
      count += row.hidden ? 0 : 1;
    });
    shown.textContent = count === rows.length ? `${count} runs` : `${count} of ${rows.length} runs`;
  }

  if (!search) return;
  for (const input of [search, ...choices]) input.addEventListener("input", filter);
  filter();
})();

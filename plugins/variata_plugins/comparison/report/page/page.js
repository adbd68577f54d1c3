// The page of a comparison: theme, which models are shown, sorting, curves under the pointer, differences.
"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const made = (tag, of, text) => {
  const element = document.createElement(tag);
  element.className = of;
  element.textContent = text;
  return element;
};

// Theme: the system's, until the reader chooses.
const root = document.documentElement, themes = ["auto", "light", "dark"];
const kept = {
  get: () => { try { return localStorage.getItem("variata-theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("variata-theme", value); } catch { /* a page from a file may keep nothing */ } },
};
const showTheme = (theme) => {
  if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${theme}`;
};
let theme = themes.includes(kept.get()) ? kept.get() : "auto";
showTheme(theme);
document.getElementById("theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  kept.set(theme);
  showTheme(theme);
});

// Which models are shown, everywhere: those that are pressed, and whose name or figures contain the text.
const chips = all(".chip"), search = document.getElementById("search"), said = document.getElementById("shown");
const choose = () => {
  const words = search.value.trim().toLowerCase();
  const shown = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true"
    && chip.textContent.toLowerCase().includes(words)).map((chip) => chip.dataset.model));
  for (const element of all("[data-of]")) {
    element.toggleAttribute("hidden", !element.dataset.of.split(" ").every((model) => shown.has(model)));
  }
  for (const box of all(".scroll, .chart")) {
    const parts = all("[data-of]", box);
    box.hidden = parts.length > 0 && parts.every((part) => part.hasAttribute("hidden"));
  }
  said.textContent = `${shown.size} of ${chips.length} models shown`;
};
for (const chip of chips) {
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    choose();
  });
}
search.addEventListener("input", choose);
document.getElementById("all").addEventListener("click", () => {
  for (const chip of chips) chip.setAttribute("aria-pressed", "true");
  search.value = "";
  choose();
});
for (const words of all("input.rows")) {
  words.addEventListener("input", () => {
    const asked = words.value.trim().toLowerCase();
    for (const row of document.getElementById(words.dataset.table).tBodies[0].rows) {
      row.toggleAttribute("data-out", !row.textContent.toLowerCase().includes(asked));
    }
  });
}

// A column's head sorts by it, once more the other way round; what has no value stands last.
const compare = (a, b) => {
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
};
for (const button of all("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of all("thead th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value ?? "";
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return Number(x === "") - Number(y === "");
      return sign * compare(x, y);
    });
    table.tBodies[0].append(...rows);
  });
}

// Values under the pointer: of a track, what its cell says; of curves, each line's value nearest to the cursor.
const tip = made("div", "tip", "");
tip.hidden = true;
document.body.append(tip);
const place = (x, y) => {
  tip.style.left = `${Math.max(4, Math.min(x + 14, scrollX + root.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(scrollY + 4, y - tip.offsetHeight - 10)}px`;
};
for (const track of all(".track")) {
  track.addEventListener("pointermove", (event) => {
    tip.replaceChildren(...track.dataset.says.split("\n").map((line, i) => made(i ? "span" : "b", "", line)));
    tip.hidden = false;
    place(event.pageX, event.pageY);
  });
  track.addEventListener("pointerleave", () => { tip.hidden = true; });
}
const short = (value) => String(Number(value.toPrecision(5)));
for (const plot of all(".plot")) {
  const [x0, x1, y0, y1] = plot.dataset.domain.split(" ").map(Number);
  const lines = all("polyline", plot).map((line) => ({
    line, points: line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number)),
  }));
  const steps = [...new Set(lines.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const cursor = made("div", "cursor", "");
  cursor.hidden = true;
  plot.append(cursor);
  let at = 0;
  const show = (x, y) => {
    const step = steps[at], box = plot.getBoundingClientRect();
    const rows = lines.filter(({ line }) => !line.hasAttribute("hidden")).map(({ line, points }) => {
      const [, value] = points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
      const row = made("span", "", `${line.dataset.name}: ${short(y1 - (value / 1000) * (y1 - y0))}`);
      row.prepend(made("i", `swatch ${line.classList[0]}`, ""));
      return row;
    });
    tip.replaceChildren(made("b", "", `${plot.dataset.unit} ${short(x0 + (step / 1000) * (x1 - x0))}`), ...rows);
    cursor.style.left = `${step / 10}%`;
    cursor.hidden = tip.hidden = false;
    place(x ?? scrollX + box.left + (step / 1000) * box.width, y ?? scrollY + box.top + box.height / 2);
  };
  const hide = () => { cursor.hidden = tip.hidden = true; };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * 1000;
    at = steps.reduce((best, step, i) => (Math.abs(step - x) < Math.abs(steps[best] - x) ? i : best), 0);
    show(event.pageX, event.pageY);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focus", () => show());
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    at = Math.max(0, Math.min(steps.length - 1, at + move));
    show();
  });
}

// The difference between two specifications: lines of a longest common subsequence stay, others are removed or added.
const difference = (a, b) => {
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const found = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) found.push(["", "  ", a[i++], j++]);
    else if (j >= b.length || (i < a.length && longest[i + 1][j] >= longest[i][j + 1])) found.push(["removed", "- ", a[i++]]);
    else found.push(["added", "+ ", b[j++]]);
  }
  return found;
};
const chosen = all(".choice select"), shownDifference = document.getElementById("difference");
const written = (select) => document.getElementById(`yaml-${select.value}`).textContent.trimEnd().split("\n");
const near = 3; // equal lines that are shown beside those that differ
const showDifference = () => {
  const [a, b] = chosen.map(written), lines = difference(a, b), changed = lines.filter(([of]) => of).length;
  const shown = lines.map((_, i) => lines.slice(Math.max(0, i - near), i + near + 1).some(([of]) => of));
  const rows = [];
  for (let i = 0; i < lines.length;) {
    const [of, sign, text] = lines[i];
    if (shown[i]) { rows.push(made("div", of, sign + text)); i++; continue; }
    const end = shown.indexOf(true, i), equal = (end < 0 ? lines.length : end) - i;
    rows.push(made("div", "same", `⋯ ${equal} equal line${equal > 1 ? "s" : ""}`));
    i += equal;
  }
  document.getElementById("changed").textContent = changed ? `${changed} lines differ` : "The two are the same.";
  shownDifference.replaceChildren(...rows);
};
for (const select of chosen) select.addEventListener("change", showDifference);
if (chosen.length) showDifference();

// On paper everything is open.
addEventListener("beforeprint", () => { for (const folded of all("details")) folded.open = true; });

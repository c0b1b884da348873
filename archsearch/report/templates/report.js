"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const points = data.points, figures = data.figures, root = document.documentElement;
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const status = document.getElementById("status");

  // what was done, said for a moment, and to screen readers
  let quiet;
  function say(text) {
    status.textContent = text;
    status.classList.add("shown");
    clearTimeout(quiet);
    quiet = setTimeout(() => status.classList.remove("shown"), 2500);
  }

  // light and dark: as the system prefers, until the switch says otherwise
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  function remembered(value) {
    try {
      if (value) localStorage.setItem("archsearch-theme", value);
      return localStorage.getItem("archsearch-theme");
    } catch (error) {
      return null; // a browser that keeps nothing of local files
    }
  }
  function look() {
    const style = getComputedStyle(root), of = (name) => style.getPropertyValue(name).trim(), clear = "rgba(0,0,0,0)";
    const own = data.looks[dark() ? "dark" : "light"];
    return { ...own, layout: {
      ...own.layout, paper_bgcolor: clear, plot_bgcolor: clear, margin: { l: 50, r: 15, t: 25, b: 45 },
      hoverlabel: { align: "left", bgcolor: of("--shade"), bordercolor: of("--line"), font: { color: of("--ink") } },
      modebar: { bgcolor: clear, color: of("--soft"), activecolor: of("--ink") },
    } };
  }
  function shade() {
    button.setAttribute("aria-pressed", String(dark()));
    for (const plot of drawn) Plotly.relayout(plot, { template: look() }).then(() => lettered(plot));
  }
  // letters on a treemap: ink where nothing is behind them, else what stands out from the tile
  function letters(shade) {
    const parts = /^#(..)(..)(..)$/.exec(shade);
    if (!parts) return getComputedStyle(root).getPropertyValue("--ink").trim();
    const [r, g, b] = parts.slice(1).map((part) => (Number.parseInt(part, 16) / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#101010" : "#ffffff";
  }
  function lettered(plot) {
    plot.data.forEach((trace, curve) => {
      if (trace.type !== "treemap" || !trace.marker || !Array.isArray(trace.marker.colors)) return;
      Plotly.restyle(plot, { "textfont.color": [trace.marker.colors.map(letters)] }, [curve]);
    });
  }
  const drawn = new Set();
  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  button.addEventListener("click", () => { root.dataset.theme = remembered(dark() ? "light" : "dark") || (dark() ? "light" : "dark"); shade(); });
  system.addEventListener("change", shade);
  button.setAttribute("aria-pressed", String(dark()));

  // figures are drawn when they come into view
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  async function draw(plot) {
    if (plot.dataset.state || !plot.offsetParent) return;
    plot.dataset.state = "drawing";
    const figure = figures[plot.dataset.figure];
    const narrow = innerWidth < 600;
    const legend = { ...figure.layout.legend, orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom" };
    const layout = { ...figure.layout, legend, template: look(), autosize: true };
    await Plotly.newPlot(plot, figure.data, layout, { ...config, displayModeBar: narrow ? false : "hover" });
    drawn.add(plot);
    lettered(plot);
    if (figure.pins) pinnable(plot);
    plot.dataset.state = "drawn";
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "400px" });
  all(".plot").forEach((plot) => seen.observe(plot));
  addEventListener("beforeprint", () => all(".plot").forEach(draw));
  for (const select of all("select[data-group]")) {
    select.addEventListener("change", () => {
      for (const figure of all(`figure[data-in="${CSS.escape(select.dataset.group)}"]`)) {
        const plot = figure.querySelector(".plot");
        figure.hidden = plot.dataset.figure !== select.value;
        if (!figure.hidden) draw(plot);
      }
    });
  }

  // pins: rows of data.points side by side
  let pinned = [];
  const box = document.getElementById("pins");
  function pin(row, on) {
    const name = points.names[row];
    pinned = on ? [...pinned, row] : pinned.filter((other) => other !== row);
    say(`${name} ${on ? "pinned" : "unpinned"}; ${pinned.length} pinned`);
    compared();
  }
  const toggle = (row) => pin(row, !pinned.includes(row));
  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
  function cell(value, first) {
    const td = document.createElement("td");
    td.textContent = value === null ? "unknown" : typeof value === "number" ? number(value) : value;
    if (typeof value === "number" && typeof first === "number" && value !== first && first !== 0) {
      const change = document.createElement("span"), share = (value / first - 1) * 100;
      change.className = "change";
      change.textContent = `${share > 0 ? "+" : "−"}${Math.abs(share).toFixed(1)} %`;
      td.append(change);
    }
    return td;
  }
  function heading(row) {
    const th = document.createElement("th"), off = document.createElement("button");
    th.scope = "col";
    off.type = "button";
    off.textContent = "Unpin";
    off.setAttribute("aria-label", `Unpin ${points.names[row]}`);
    off.addEventListener("click", () => pin(row, false));
    th.append(points.names[row], document.createElement("br"), off);
    return th;
  }
  function compared() {
    for (const at of all("[data-pin]")) {
      const on = pinned.includes(Number(at.dataset.pin));
      at.setAttribute("aria-pressed", String(on));
      at.textContent = on ? "Pinned" : "Pin";
    }
    for (const plot of drawn) if (plot.pins) marked(plot);
    if (!box) return;
    const table = box.querySelector("table");
    box.querySelector(".empty").hidden = pinned.length > 0;
    table.hidden = box.querySelector(".clear").hidden = pinned.length === 0;
    table.replaceChildren();
    if (!pinned.length) return;
    const head = table.createTHead().insertRow(), body = table.createTBody();
    head.append(document.createElement("th"), ...pinned.map(heading));
    points.heads.forEach((name, column) => {
      const values = pinned.map((row) => points.rows[row][column]);
      if (values.every((value) => value === null)) return;
      const tr = body.insertRow(), th = document.createElement("th");
      th.scope = "row";
      th.className = "text";
      th.textContent = name;
      tr.append(th, ...values.map((value, i) => cell(value, i ? values[0] : null)));
    });
  }
  if (box) box.querySelector(".clear").addEventListener("click", () => { pinned = []; say("nothing is pinned"); compared(); });
  for (const at of all("[data-pin]")) at.addEventListener("click", () => toggle(Number(at.dataset.pin)));

  // a figure whose points can be pinned: by a click, or by arrow keys and Enter
  function pinnable(plot) {
    plot.pins = [];
    plot.data.forEach((trace, curve) => (trace.customdata || []).forEach((row, point) => {
      if (Number.isInteger(row) && trace.x) plot.pins.push({ row, curve, point, x: trace.x[point], y: trace.y[point] });
    }));
    plot.pins.sort((a, b) => a.x - b.x);
    Plotly.addTraces(plot, { name: "pinned", mode: "markers", x: [], y: [], hoverinfo: "skip",
      marker: { size: 17, symbol: "circle-open", line: { width: 3 }, color: data.pinned } });
    plot.on("plotly_click", (event) => {
      const row = event.points[0].customdata;
      if (Number.isInteger(row)) toggle(row);
    });
    let at = -1;
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step && plot.pins.length) {
        at = (at + step + plot.pins.length) % plot.pins.length;
        const { curve, point, row, x, y } = plot.pins[at];
        Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: point }]);
        say(`${points.names[row]}: ${number(x)}, ${number(y)}`);
      } else if (["Enter", " "].includes(event.key) && at >= 0) {
        toggle(plot.pins[at].row);
      } else if (event.key === "Escape") {
        Plotly.Fx.unhover(plot);
        at = -1;
      } else {
        return;
      }
      event.preventDefault();
    });
    marked(plot);
  }
  function marked(plot) {
    const on = pinned.map((row) => plot.pins.find((pin) => pin.row === row)).filter(Boolean);
    Plotly.restyle(plot, { x: [on.map((pin) => pin.x)], y: [on.map((pin) => pin.y)], showlegend: on.length > 0 },
      [plot.data.length - 1]);
  }
  // points whose rows a filter has left out fade
  function faded(rows) {
    for (const plot of drawn) {
      if (!plot.pins) continue;
      plot.data.forEach((trace, curve) => {
        if (!trace.customdata || !trace.customdata.some(Number.isInteger)) return;
        const kept = rows && trace.customdata.flatMap((row, point) => (rows.has(row) ? [point] : []));
        Plotly.restyle(plot, { selectedpoints: [kept] }, [curve]);
      });
    }
  }

  // tables: filtered by words, sorted by a column
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim(), parsed = Number.parseFloat(text.replace(/,/g, ""));
    return Number.isNaN(parsed) ? text : parsed;
  };
  for (const table of all(".table")) {
    const body = table.querySelector("tbody"), input = table.querySelector("input[type=search]");
    if (!input) continue;
    const texts = new Map(all("tr", body).map((row) => [row, row.textContent.toLowerCase()]));
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const [row, text] of texts) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      table.querySelector(".found").textContent = words.length ? `${shown} of ${texts.size} rows` : "";
      const kept = all("[data-pin]", body).filter((at) => !at.closest("tr").hidden);
      if (body.querySelector("[data-pin]")) faded(words.length ? new Set(kept.map((at) => Number(at.dataset.pin))) : null);
    });
    for (const sort of all(".sort", table)) {
      sort.addEventListener("click", () => {
        const th = sort.closest("th"), column = th.cellIndex, up = th.getAttribute("aria-sort") !== "ascending";
        all("th", th.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const order = (a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          const less = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
          return up ? less : -less;
        };
        body.append(...all("tr", body).sort(order));
      });
    }
  }

  // copying, also where a page from a file may not use the clipboard
  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
  for (const copy of all("button[data-copy]")) {
    copy.addEventListener("click", async () => {
      const done = await copied(document.getElementById(copy.dataset.copy).textContent);
      copy.focus();
      say(done ? "copied" : "the browser refused: select the text and copy it");
    });
  }
})();

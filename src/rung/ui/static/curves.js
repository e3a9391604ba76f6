"use strict";
// Curves of metrics, drawn by uPlot from the JSON of /curves: zoom, values under the pointer, smoothing, log scale, x as
// step, time or relative time, many runs over each other, mean and spread of groups. While a run is running the data is
// asked for every two seconds. What is set stands in the address.
(function () {
  const POLL_MS = 2000, JOINED = 40, GRID = 240, READ = 12;
  const settings = new URLSearchParams(location.search);
  const state = { smooth: Math.min(0.99, Math.max(0, Number(settings.get("smooth")) || 0)), log: settings.get("log") === "1", x: settings.get("x") || "step" };
  const charts = [];
  const project = (/^\/p\/[^/]+(?=\/)/.exec(location.pathname) || [""])[0];

  function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function colour(index) { return css("--s" + (index % 6)); }
  function dash(index) { return [undefined, [6, 4], [2, 3], [10, 3, 2, 3]][Math.floor(index / 6) % 4]; }
  function faint(hex, alpha) { const n = parseInt(hex.slice(1), 16); return "rgba(" + (n >> 16) + "," + ((n >> 8) & 255) + "," + (n & 255) + "," + alpha + ")"; }
  function told(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    return size !== 0 && (size >= 1e6 || size < 1e-4) ? value.toExponential(3) : String(+value.toPrecision(5));
  }
  function moment(x) {
    if (state.x === "time") return new Date(x * 1000).toLocaleString();
    if (state.x === "relative") return x < 120 ? x.toFixed(1) + " s" : x < 7200 ? (x / 60).toFixed(1) + " min" : (x / 3600).toFixed(2) + " h";
    return "step " + told(x);
  }

  // One line as sorted columns [x, y, low, high], each x once, the last value winning.
  function columns(line) {
    const timed = state.x !== "step" && line.ats.length > 0;
    const xs = timed ? line.ats : line.steps, start = timed && state.x === "relative" ? Math.min.apply(null, line.ats) : 0;
    const order = xs.map(function (_, i) { return i; });
    if (timed) order.sort(function (a, b) { return xs[a] - xs[b] || a - b; });
    const out = [[], [], [], []];
    for (const i of order) {
      const x = xs[i] - start, y = line.values[i], place = out[0].length && out[0][out[0].length - 1] === x ? out[0].length - 1 : out[0].length;
      const gone = state.log && y !== null && y <= 0;
      out[0][place] = x; out[1][place] = gone ? null : y;
      if (line.low) { out[2][place] = state.log && line.low[i] <= 0 ? null : line.low[i]; out[3][place] = line.high[i]; }
    }
    return out;
  }
  // Exponential moving average, freed of its bias towards the start; gaps stay gaps.
  function smoothed(values, weight) {
    let last = 0, n = 0;
    return values.map(function (value) {
      if (value === null || value === undefined) return value;
      last = last * weight + (1 - weight) * value; n += 1;
      return last / (1 - Math.pow(weight, n));
    });
  }
  // Many lines on one grid: linear between a line's points, nothing outside of them.
  function gridded(tables) {
    let low = Infinity, high = -Infinity;
    for (const t of tables) if (t[0].length) { low = Math.min(low, t[0][0]); high = Math.max(high, t[0][t[0].length - 1]); }
    if (!(high >= low)) return [[]].concat(tables.map(function () { return []; }));
    const xs = []; for (let i = 0; i < GRID; i += 1) xs.push(low + (high - low) * i / (GRID - 1));
    return [xs].concat(tables.map(function (t) {
      let at = 0;
      return xs.map(function (x) {
        const n = t[0].length;
        if (!n || x < t[0][0] || x > t[0][n - 1]) return null;
        while (at < n - 2 && t[0][at + 1] < x) at += 1;
        const a = t[1][at], b = t[1][Math.min(at + 1, n - 1)], span = (t[0][Math.min(at + 1, n - 1)] - t[0][at]) || 1;
        return a === null || b === null ? null : a + (b - a) * (x - t[0][at]) / span;
      });
    }));
  }

  function prepared(data) {
    const lines = data.series.map(function (line, index) { return { line: line, index: index, table: columns(line) }; });
    const series = [{}], tables = [], bands = [];
    const many = lines.length > JOINED;
    for (const one of lines) {
      const stroke = colour(one.index), raw = one.table[1], weight = state.smooth;
      const name = one.line.name + (one.line.members ? " (mean of " + one.line.members + ")" : "");
      if (one.line.low) {
        series.push({ label: "", stroke: "transparent", width: 0, points: { show: false } }, { label: "", stroke: "transparent", width: 0, points: { show: false } });
        tables.push([one.table[0], one.table[3]], [one.table[0], one.table[2]]);
        bands.push({ series: [series.length - 2, series.length - 1], fill: faint(stroke, 0.16) });
      } else if (weight > 0 && !many) {
        series.push({ label: "", stroke: faint(stroke, 0.28), width: 1, points: { show: false } });
        tables.push([one.table[0], raw]);
      }
      series.push({ label: name, stroke: many ? faint(stroke, 0.6) : stroke, width: many ? 1 : 2, dash: many ? undefined : dash(one.index), spanGaps: many, points: many ? { show: false } : { size: 5 }, of: one.line });
      tables.push([one.table[0], weight > 0 && !one.line.low ? smoothed(raw, weight) : raw]);
    }
    const aligned = many ? gridded(tables) : tables.length ? uPlot.join(tables) : [[]];
    return { series: series, data: aligned, bands: bands };
  }

  function draw(chart) {
    const ready = prepared(chart.data), shape = JSON.stringify([ready.series.map(function (s) { return [s.label, s.stroke]; }), state.log, state.x]);
    if (chart.plot && chart.shape === shape) { chart.plot.setData(ready.data, !chart.zoomed); read(chart); return; }
    if (chart.plot) chart.plot.destroy();
    chart.shape = shape; chart.zoomed = false;
    const axis = { stroke: css("--muted"), grid: { stroke: css("--divider"), width: 0.6 }, ticks: { stroke: css("--divider"), width: 0.6 }, font: "12px system-ui, sans-serif" };
    const logarithmic = state.log && ready.data.some(function (column, i) { return i > 0 && column.some(function (v) { return v > 0; }); });
    chart.plot = new uPlot({
      width: chart.area.clientWidth || 440, height: chart.wide ? 340 : 220, legend: { show: false }, bands: ready.bands, series: ready.series,
      cursor: { drag: { x: true, y: false }, sync: { key: "metrics" }, focus: { prox: 24 }, points: { size: 7 } },
      focus: { alpha: ready.series.length > 8 ? 0.2 : 0.5 },
      scales: { x: { time: state.x === "time" }, y: logarithmic ? { distr: 3 } : { range: function (u, low, high) { return low === null ? [0, 1] : low === high ? [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(low) * 0.1 || 1)] : uPlot.rangeNum(low, high, 0.08, true); } } },
      axes: [Object.assign({}, axis, state.x === "time" ? {} : { values: function (u, all) { return all.map(function (v) { return state.x === "relative" ? moment(v) : short(v); }); } }), Object.assign({}, axis, { size: 58, values: function (u, all) { return all.map(function (v) { return v === null ? "" : short(v); }); } })],
      hooks: {
        setCursor: [function () { read(chart); }],
        setSelect: [function (u) { chart.zoomed = u.select.width > 0; }],
        setScale: [function (u, key) { if (key === "x" && u.data[0].length) { const s = u.scales.x, xs = u.data[0]; chart.zoomed = s.min > xs[0] || s.max < xs[xs.length - 1]; } }],
      },
    }, ready.data, chart.area);
    chart.figure.classList.add("drawn");
    read(chart);
  }
  function short(value) {
    const size = Math.abs(value);
    for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) if (size >= limit) return +(value / (letter === "k" ? 1e3 : limit)).toPrecision(3) + letter;
    return size !== 0 && size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
  }

  // The values at the pointer, nearest lines first; without a pointer the last value of each.
  function read(chart) {
    const u = chart.plot; if (!u) return;
    const idx = u.cursor.idx, over = idx !== null && idx !== undefined && u.cursor.left >= 0, rows = [];
    u.series.forEach(function (s, i) {
      if (i === 0 || !s.of) return;
      const column = u.data[i]; let at = over ? idx : column.length - 1;
      while (at >= 0 && (column[at] === null || column[at] === undefined) && (!over || idx - at < 200)) at -= 1;
      const value = at >= 0 ? column[at] : null;
      rows.push({ s: s, value: value, far: over && value !== null && value !== undefined ? Math.abs(u.valToPos(value, "y") - u.cursor.top) : 0, n: rows.length });
    });
    const total = rows.length;
    if (total > READ) rows.sort(function (a, b) { return a.far - b.far || a.n - b.n; });
    const list = document.createDocumentFragment();
    const head = document.createElement("li"); head.className = "at"; head.textContent = over ? moment(u.data[0][idx]) : total ? "last" : "no points yet"; list.append(head);
    for (const row of rows.slice(0, READ)) {
      const item = document.createElement("li"), mark = document.createElement("span"), name = document.createElement(row.s.of && row.s.of.href && total > 1 ? "a" : "span"), value = document.createElement("b");
      mark.className = "swatch"; mark.style.color = typeof row.s.stroke === "function" ? row.s._stroke || "" : row.s.stroke; if (row.s.dash) mark.className += " dashed";
      name.textContent = total > 1 ? row.s.label : ""; if (name.tagName === "A") name.href = project + row.s.of.href;
      value.textContent = " " + told(row.value); item.append(mark, name, value); list.append(item);
    }
    if (total > READ) { const more = document.createElement("li"); more.className = "muted"; more.textContent = (total - READ) + " more lines"; list.append(more); }
    chart.reading.replaceChildren(list);
  }

  function note(chart) {
    const d = chart.data, said = [];
    const thinned = d.series.filter(function (s) { return !s.low && s.total > s.steps.length; });
    if (thinned.length) said.push(thinned.length === 1 ? thinned[0].total.toLocaleString() + " points, drawn from " + thinned[0].steps.length.toLocaleString() + " that keep every minimum and maximum" : "thinned: every minimum and maximum is kept");
    const odd = d.series.reduce(function (sum, s) { return sum + s.odd; }, 0);
    if (odd) said.push(odd + " NaN or infinite, shown as gaps");
    if (state.log && d.series.some(function (s) { return s.values.some(function (v) { return v !== null && v <= 0; }); })) said.push("values at or below 0 have no place on a log scale");
    if (d.group) said.push("mean ± one standard deviation over the runs of a group");
    if (d.series.length > JOINED && !d.group) said.push("each line on " + GRID + " places");
    chart.note.textContent = said.join("; ") + (said.length ? "." : "");
    chart.figure.classList.toggle("running", d.running);
  }

  async function load(chart) {
    if (chart.loading || chart.gone) return;
    chart.loading = true;
    try {
      const answer = await fetch(chart.figure.dataset.curve, { headers: { accept: "application/json" }, credentials: "same-origin" });
      if (!answer.ok) throw new Error("the server answered " + answer.status);
      chart.data = (await answer.json()).data;
      draw(chart); note(chart);
      chart.figure.dataset.points = chart.data.series.reduce(function (sum, s) { return sum + s.total; }, 0);
      if (chart.data.running) setTimeout(function () { poll(chart); }, POLL_MS);
      chart.wasRunning = chart.data.running;
    } catch (error) {
      chart.note.textContent = "The curve could not be read: " + error.message + ".";
      if (chart.wasRunning !== false) setTimeout(function () { poll(chart); }, POLL_MS * 3);
    } finally { chart.loading = false; }
  }
  function poll(chart) { if (chart.gone) return; if (document.hidden || !chart.near) setTimeout(function () { poll(chart); }, POLL_MS); else load(chart); }

  function remember() {
    const url = new URL(location.href);
    for (const [name, value] of [["smooth", state.smooth ? String(state.smooth) : ""], ["log", state.log ? "1" : ""], ["x", state.x === "step" ? "" : state.x]]) { if (value) url.searchParams.set(name, value); else url.searchParams.delete(name); }
    history.replaceState(null, "", url);
  }
  function redraw() { for (const chart of charts) if (chart.data) { draw(chart); note(chart); } }

  const seen = new IntersectionObserver(function (entries) {
    for (const entry of entries) { const chart = charts.find(function (c) { return c.figure === entry.target; }); if (!chart) continue; chart.near = entry.isIntersecting; if (chart.near && !chart.data) load(chart); }
  }, { rootMargin: "200px" });
  const sizes = new ResizeObserver(function (entries) {
    for (const entry of entries) { const chart = charts.find(function (c) { return c.area === entry.target; }); if (chart && chart.plot && entry.contentRect.width > 0) chart.plot.setSize({ width: entry.contentRect.width, height: chart.plot.height }); }
  });

  // Makes what is in a part of the page work; called again for parts that were exchanged.
  function start(root) {
    for (const bar of root.querySelectorAll("[data-curve-bar]")) {
      bar.hidden = false;
      const smooth = bar.querySelector("[name=smooth]"), log = bar.querySelector("[name=log]"), x = bar.querySelector("[name=x]"), shown = bar.querySelector("output");
      smooth.value = state.smooth; log.checked = state.log; x.value = state.x; shown.textContent = state.smooth.toFixed(2);
      bar.addEventListener("input", function (event) {
        if (event.target.hasAttribute("data-find-metric")) return;
        state.smooth = Number(smooth.value); state.log = log.checked; state.x = x.value; shown.textContent = state.smooth.toFixed(2);
        remember(); redraw(); event.stopPropagation();
      });
      bar.querySelector("[data-reset]").addEventListener("click", function () { for (const chart of charts) if (chart.plot) { chart.zoomed = false; chart.plot.setData(chart.plot.data, true); } });
      const find = bar.querySelector("[data-find-metric]");
      if (find) find.addEventListener("input", function () {
        for (const chart of charts) chart.figure.hidden = !chart.figure.dataset.key.toLowerCase().includes(find.value.toLowerCase());
      });
    }
    for (const figure of root.querySelectorAll("[data-curve]")) {
      const chart = { figure: figure, area: figure.querySelector("[data-area]"), reading: figure.querySelector("[data-reading]"), note: figure.querySelector("[data-note]"), wide: figure.classList.contains("wide") };
      charts.push(chart); seen.observe(figure); sizes.observe(chart.area);
    }
  }

  // When the shape of a live page changes (a metric, a file, its end), the part that stood still is fetched anew.
  let shape = "", renewing = false;
  async function renew() {
    const live = document.getElementById("live"), wanted = live && live.dataset.shape;
    if (renewing || !wanted || wanted === shape || !document.getElementById("still")) return;
    renewing = true;
    let fresh = null;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.ok) fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("still");
    } catch (_) { /* asked again below */ }
    renewing = false;
    if (!fresh || window.rungIsBusy()) { setTimeout(renew, POLL_MS); return; }
    shape = wanted;
    const still = document.getElementById("still");
    const open = new Set([...still.querySelectorAll("details[open] > summary")].map(function (one) { return one.textContent; }));
    for (const one of fresh.querySelectorAll("details > summary")) if (open.has(one.textContent)) one.parentElement.open = true;
    for (const chart of charts) { chart.gone = true; seen.unobserve(chart.figure); sizes.unobserve(chart.area); }
    charts.length = 0;
    still.replaceWith(fresh);
    start(fresh);
    renew(); // the page may have changed meanwhile
  }

  document.addEventListener("DOMContentLoaded", function () {
    const live = document.getElementById("live");
    shape = live && live.dataset.shape || "";
    start(document);
    document.addEventListener("htmx:afterSwap", renew);
    new MutationObserver(function () { for (const chart of charts) chart.shape = ""; redraw(); }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { for (const chart of charts) chart.shape = ""; redraw(); });
  });
})();

"use strict";
// The log of a step as it grows: read on from where the page ended, a part at a time. Text only ever becomes text.
(function () {
  const part = document.querySelector("[data-log]");
  if (!part) return;
  const box = part.querySelector("[data-text]"), state = part.querySelector("[data-state]"), found = part.querySelector("[data-found]");
  const find = part.querySelector("[data-find]"), wrap = part.querySelector("[data-wrap]"), follow = part.querySelector("[data-follow]");
  const MOST = 4000000, EVERY = 1000, MOST_FOUND = 2000;
  const escapes = /\x1b(?:\[[0-?]*[ -\/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|[@-Z\\-_])/g;
  const running = part.hasAttribute("data-running");
  let offset = Number(part.dataset.from), carry = "", lines = null, tail = null, length = 0, dropped = false, failures = 0, hits = [], at = -1;

  for (const label of part.querySelectorAll("[data-scripted]")) label.hidden = false;

  // As a terminal would have left it: the server does the same for the page without scripts (rung.ui.logs).
  function readable(text) {
    return text.replace(escapes, "").replace(/\r\n/g, "\n").split("\n").map(function (line) {
      if (!line.includes("\r")) return line;
      return line.split("\r").reverse().find(function (piece) { return piece !== ""; }) || "";
    }).join("\n").replace(/[\x00-\x08\x0b-\x1f]/g, function (c) { return String.fromCharCode(0x2400 + c.charCodeAt(0)); }).replace(/\x7f/g, "\u2421").replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  }
  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB"];
    let index = 0;
    while (bytes >= 1024 && index < 3) { bytes /= 1024; index += 1; }
    return (index ? bytes.toFixed(1) : bytes) + " " + units[index];
  }
  function begin() {
    box.textContent = "";
    lines = document.createElement("span");
    tail = document.createElement("span");
    box.append(lines, tail);
  }
  function add(text) {
    const whole = carry + text, end = whole.lastIndexOf("\n") + 1;
    carry = whole.slice(end);
    if (carry.length > 100000) { lines.append(readable(carry)); carry = ""; }
    if (end) {
      const piece = readable(whole.slice(0, end));
      lines.append(document.createTextNode(piece));
      length += piece.length;
      while (length > MOST && lines.childNodes.length > 1) { length -= lines.firstChild.data.length; lines.firstChild.remove(); dropped = true; }
    }
    tail.textContent = readable(carry);
  }
  function down() { if (follow.checked) box.scrollTop = box.scrollHeight; }
  function tell(chunk, words) {
    state.textContent = size(chunk.size_bytes) + (Number(part.dataset.from) || dropped ? ", the beginning is left out here" : "") + words;
  }
  function later(ms) { setTimeout(read, ms); }
  function read() {
    if (document.hidden && running) { later(EVERY); return; }
    fetch(part.dataset.log + "&offset=" + offset, { headers: { accept: "application/json" } }).then(function (answer) {
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.json();
    }).then(function (held) {
      const chunk = held.data.chunk;
      failures = 0;
      if (!lines) begin();
      if (chunk.text) { add(chunk.text); if (find.value) search(); down(); }
      offset = chunk.next_offset;
      if (chunk.finished) { tell(chunk, running ? ", ended" : ""); if (!length && !carry) box.textContent = "Nothing was printed."; box.dataset.read = "whole"; return; }
      tell(chunk, running ? ", growing" : "");
      box.dataset.read = "part";
      later(offset < chunk.size_bytes ? 0 : EVERY);
    }).catch(function () {
      failures += 1;
      state.textContent = "The server does not answer; trying again.";
      if (failures < 60) later(Math.min(30000, EVERY * failures));
    });
  }
  function search() {
    const wanted = find.value.toLowerCase();
    hits = [];
    if (wanted) {
      const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
      while (walker.nextNode() && hits.length < MOST_FOUND) {
        const text = walker.currentNode.data.toLowerCase();
        for (let place = text.indexOf(wanted); place >= 0 && hits.length < MOST_FOUND; place = text.indexOf(wanted, place + wanted.length)) {
          const range = document.createRange();
          range.setStart(walker.currentNode, place);
          range.setEnd(walker.currentNode, place + wanted.length);
          hits.push(range);
        }
      }
    }
    mark();
  }
  function mark() {
    if (at >= hits.length) at = hits.length - 1;
    if (window.CSS && CSS.highlights && window.Highlight) {
      CSS.highlights.set("log-found", new Highlight(...hits));
      CSS.highlights.set("log-here", new Highlight(...(at >= 0 ? [hits[at]] : [])));
    }
    found.textContent = find.value ? (hits.length ? (at >= 0 ? (at + 1) + " of " : "") + hits.length + (hits.length === MOST_FOUND ? "+" : "") + " found" : "not found") : "";
  }
  function go(step) {
    if (!hits.length) return;
    at = (at + step + hits.length) % hits.length;
    mark();
    const spot = hits[at].getBoundingClientRect(), frame = box.getBoundingClientRect();
    follow.checked = false;
    box.scrollTop += spot.top - frame.top - frame.height / 2;
    box.scrollLeft += spot.left - frame.left > frame.width - 40 || spot.left < frame.left ? spot.left - frame.left - frame.width / 2 : 0;
  }
  find.addEventListener("input", function () { at = -1; search(); if (hits.length) go(1); });
  find.addEventListener("keydown", function (event) { if (event.key === "Enter") { event.preventDefault(); go(event.shiftKey ? -1 : 1); } });
  wrap.addEventListener("change", function () {
    box.classList.toggle("wrap", wrap.checked);
    try { localStorage.setItem("rung-log-wrap", wrap.checked ? "1" : ""); } catch (_) { /* a private window keeps nothing */ }
  });
  try { wrap.checked = localStorage.getItem("rung-log-wrap") === "1"; box.classList.toggle("wrap", wrap.checked); } catch (_) { /* as above */ }
  follow.addEventListener("change", down);
  box.addEventListener("wheel", function (event) { if (event.deltaY < 0) follow.checked = false; }, { passive: true });
  box.addEventListener("keydown", function (event) { if (["PageUp", "ArrowUp", "Home"].includes(event.key)) follow.checked = false; });
  read();
})();

"use strict";
// A live page is replaced part by part. What somebody has opened, scrolled to or stands on stays as it was; when the
// page's shape changes (a run has ended, a step has begun), all of it is fetched once more.
(function () {
  let open = new Set(), places = [], focused = "", shape = "";

  function live() { return document.getElementById("live"); }
  function name(details, index) { const head = details.querySelector("summary"); return (head ? head.textContent.trim() : "") + "#" + index; }
  function keep() {
    const part = live();
    if (!part) return;
    const held = document.activeElement;
    open = new Set([...part.querySelectorAll("details")].map(function (d, i) { return d.open ? name(d, i) : ""; }).filter(Boolean));
    places = [...part.querySelectorAll(".scroll")].map(function (box) { return [box.scrollLeft, box.scrollTop]; });
    focused = held && part.contains(held) ? held.id || held.getAttribute("href") || "" : "";
  }
  function restore() {
    const part = live();
    if (!part) return;
    [...part.querySelectorAll("details")].forEach(function (d, i) { if (open.has(name(d, i))) d.open = true; });
    [...part.querySelectorAll(".scroll")].forEach(function (box, i) { if (places[i]) { box.scrollLeft = places[i][0]; box.scrollTop = places[i][1]; } });
    if (focused) {
      const again = document.getElementById(focused) || part.querySelector('[href="' + CSS.escape(focused).replace(/\\\//g, "/") + '"]') || part.querySelector("[href='" + focused.replace(/'/g, "") + "']");
      if (again) again.focus({ preventScroll: true });
    }
    if (part.dataset.shape && shape && part.dataset.shape !== shape) location.reload();
    shape = part.dataset.shape || shape;
  }
  document.addEventListener("htmx:beforeSwap", keep);
  document.addEventListener("htmx:afterSwap", restore);
  document.addEventListener("DOMContentLoaded", function () { const part = live(); shape = part && part.dataset.shape || ""; });
  if (document.readyState !== "loading") { const part = live(); shape = part && part.dataset.shape || ""; }
  document.addEventListener("click", function (event) {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
  });
})();

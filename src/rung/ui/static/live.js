"use strict";
// A live page is replaced part by part. What somebody has opened, scrolled to or stands on stays as it was, and a part is
// not taken from under a press, which would never become a click; when the page's shape changes (a run has ended, a step
// has begun), all of it is fetched once more.
(function () {
  const PRESS_MS = 60000, AGAIN_MS = 200; // not for ever: a download leaves no page, and a release may never be told of
  let open = new Set(), places = [], focused = "", shape = "", pressed = 0, leaving = 0;

  function live() { return document.getElementById("live"); }
  function name(details, index) { const head = details.querySelector("summary"); return (head ? head.textContent.trim() : "") + "#" + index; }
  function within(moment) { return Date.now() - moment < PRESS_MS; }
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
    const changed = part.dataset.shape && shape && part.dataset.shape !== shape;
    shape = part.dataset.shape || shape;
    if (changed && !window.uPlot) reload(); // a page with curves exchanges what stands still by itself
  }
  // While a press may become a click, when one leads elsewhere, which a reload would take back, and while somebody types.
  function isBusy() {
    const held = document.activeElement;
    const typing = held && held.matches("form input, form textarea") && held.value !== held.defaultValue;
    return typing || within(pressed) || within(leaving);
  }
  window.rungIsBusy = isBusy;
  function reload() { if (isBusy()) setTimeout(reload, AGAIN_MS); else location.reload(); }
  document.addEventListener("pointerdown", function () { pressed = Date.now(); }, true);
  for (const ended of ["pointerup", "pointercancel"]) document.addEventListener(ended, function () { setTimeout(function () { pressed = 0; }, 0); }, true);
  document.addEventListener("pointermove", function (event) { if (!event.buttons) pressed = 0; }, true); // let go of outside of the window
  window.addEventListener("beforeunload", function () { leaving = Date.now(); });
  window.addEventListener("pageshow", function () { leaving = 0; }); // come back to
  document.addEventListener("htmx:beforeSwap", function (event) {
    if (within(pressed) && ["live", "rows"].includes(event.detail.target.id)) event.detail.shouldSwap = false; // the next answer comes soon
    else keep();
  });
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

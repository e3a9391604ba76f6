"use strict";
// The selection of runs lives in the address (sel=…), so that it outlasts paging, sorting and a refresh of the rows.
(function () {
  let page = null;
  let selected = new Set();
  let across = 0, focused = "", ticked = new Map();

  function withSelection(href) {
    const url = new URL(href, location.href);
    if (selected.size) url.searchParams.set("sel", [...selected].join(",")); else url.searchParams.delete("sel");
    return url.pathname + url.search + url.hash;
  }
  function show() {
    const boxes = [...page.querySelectorAll("input[name=run]")];
    for (const box of boxes) box.checked = selected.has(box.value);
    const all = page.querySelector("[data-all]");
    if (all) {
      all.checked = boxes.length > 0 && boxes.every(function (box) { return box.checked; });
      all.indeterminate = !all.checked && boxes.some(function (box) { return box.checked; });
    }
    page.querySelector("[data-count]").textContent = selected.size ? selected.size + " selected" : "Tick runs to compare, tag or delete them.";
    page.querySelector("[data-bulk]").classList.toggle("idle", selected.size === 0);
    for (const field of page.querySelectorAll("[data-also], [data-sel-field]")) field.value = [...selected].join(",");
    for (const link of page.querySelectorAll("a[data-sel]")) link.setAttribute("href", withSelection(link.getAttribute("href")));
    const here = withSelection(location.href);
    history.replaceState(null, "", here);
    const back = page.querySelector("[data-bulk] input[name=back]");
    if (back) back.value = here;
  }
  function changed(event) {
    const box = event.target;
    if (box.name === "run") { if (box.checked) selected.add(box.value); else selected.delete(box.value); }
    else if (box.hasAttribute("data-all")) {
      for (const one of page.querySelectorAll("input[name=run]")) { if (box.checked) selected.add(one.value); else selected.delete(one.value); }
    } else return;
    show();
  }
  function start() {
    const found = document.querySelector("[data-runs-table]");
    if (!found) return;
    if (found !== page) {
      page = found;
      selected = new Set((new URLSearchParams(location.search).get("sel") || "").split(",").filter(Boolean));
      page.addEventListener("change", changed);
      page.addEventListener("click", function (event) {
        if (!event.target.closest("[data-clear]")) return;
        event.preventDefault();
        selected = new Set();
        show();
      });
    }
    show();
  }
  // A refresh of the rows keeps what is scrolled to and what has the focus; one of the columns to choose from, what was
  // ticked since it was asked for.
  document.addEventListener("htmx:beforeSwap", function () {
    ticked = new Map([...document.querySelectorAll("#keys input[name=col]")].map(function (box) { return [box.value, box.checked]; }));
    const wide = page && page.querySelector("[data-wide]"), held = document.activeElement;
    across = wide ? wide.scrollLeft : 0;
    focused = held && held.name === "run" ? held.value : "";
  });
  document.addEventListener("htmx:afterSwap", function () {
    start();
    for (const box of document.querySelectorAll("#keys input[name=col]")) if (ticked.has(box.value)) box.checked = ticked.get(box.value);
    const wide = page && page.querySelector("[data-wide]");
    if (wide) wide.scrollLeft = across;
    const box = focused && page.querySelector("input[name=run][value='" + focused + "']");
    if (box) box.focus({ preventScroll: true });
  });
  start();
})();

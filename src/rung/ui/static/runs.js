"use strict";
// The selection of runs lives in the address (sel=…), so that it outlasts paging, sorting and a refresh of the rows.
(function () {
  const page = document.querySelector("[data-runs-table]");
  if (!page) return;
  let selected = new Set((new URLSearchParams(location.search).get("sel") || "").split(",").filter(Boolean));

  function withSelection(href) {
    const url = new URL(href, location.href);
    if (selected.size) url.searchParams.set("sel", [...selected].join(",")); else url.searchParams.delete("sel");
    return url.pathname + url.search;
  }
  function show() {
    for (const box of page.querySelectorAll("input[name=run]")) box.checked = selected.has(box.value);
    const boxes = [...page.querySelectorAll("input[name=run]")];
    const all = page.querySelector("[data-all]");
    if (all) {
      all.checked = boxes.length > 0 && boxes.every(function (box) { return box.checked; });
      all.indeterminate = !all.checked && boxes.some(function (box) { return box.checked; });
    }
    page.querySelector("[data-count]").textContent = selected.size + " selected";
    page.querySelector("[data-bulk]").classList.toggle("idle", selected.size === 0);
    for (const field of page.querySelectorAll("[data-also], [data-sel-field]")) field.value = [...selected].join(",");
    for (const link of page.querySelectorAll("a[data-sel]")) link.setAttribute("href", withSelection(link.getAttribute("href")));
    const here = withSelection(location.href);
    history.replaceState(null, "", here);
    const back = page.querySelector("[data-bulk] input[name=back]");
    if (back) back.value = here;
  }
  page.addEventListener("change", function (event) {
    const box = event.target;
    if (box.name === "run") { if (box.checked) selected.add(box.value); else selected.delete(box.value); }
    else if (box.hasAttribute("data-all")) {
      for (const one of page.querySelectorAll("input[name=run]")) { if (box.checked) selected.add(one.value); else selected.delete(one.value); }
    } else return;
    show();
  });
  page.addEventListener("click", function (event) {
    if (!event.target.closest("[data-clear]")) return;
    event.preventDefault();
    selected = new Set();
    show();
  });
  document.addEventListener("htmx:afterSwap", show);
  document.addEventListener("click", function (event) {
    for (const menu of page.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") for (const menu of page.querySelectorAll("details.menu[open]")) menu.open = false;
  });
  show();
})();

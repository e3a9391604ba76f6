"use strict";
// Theme before the first paint, so that nothing flashes; everything else waits for the page.
(function () {
  const themes = ["system", "light", "dark"];
  function held() { try { return localStorage.getItem("rung-theme") || "system"; } catch (_) { return "system"; } }
  function show(theme) {
    if (theme === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    const word = document.getElementById("theme-word");
    if (word) word.textContent = theme;
  }
  show(held());
  // The MLflow client prints addresses such as /#/experiments/1/runs/ID; each has a page here. Browsers keep the part
  // behind # when they are sent to the login, so there it becomes what follows the login.
  const places = [
    [/^#\/experiments\/\d+\/runs\/([0-9a-f]{32})/, function (m) { return "/runs/" + m[1]; }],
    [/^#\/experiments\/\d+\/models\/(m-[0-9a-f]{32})/, function (m) { return "/logged-models/" + m[1]; }],
    [/^#\/experiments\/(\d+)/, function (m) { return "/experiments/" + m[1]; }],
    [/^#\/experiments/, function () { return "/experiments"; }],
    [/^#\/models\/([^/?]+)\/(?:versions|version)\/(\d+)/, function (m) { return "/models/" + quoted(m[1]) + "/" + m[2]; }],
    [/^#\/models\/([^/?]+)/, function (m) { return "/models/" + quoted(m[1]); }],
    [/^#\/models/, function () { return "/models"; }],
  ];
  function quoted(text) { try { return encodeURIComponent(decodeURIComponent(text)); } catch (_) { return encodeURIComponent(text); } }
  function meant() {
    for (const [pattern, place] of places) { const found = pattern.exec(location.hash); if (found) return place(found); }
    return "";
  }
  function follow() {
    const target = meant(), field = document.querySelector("form input[name=next]");
    if (!target) return;
    if (location.pathname === "/login") { if (field) field.value = target; return; }
    const project = /^\/p\/[^/]+(?=\/)/.exec(location.pathname);
    location.replace((project ? project[0] : "") + target);
  }
  if (meant() && location.pathname !== "/login") follow();
  window.addEventListener("hashchange", follow);
  document.addEventListener("DOMContentLoaded", follow);
  document.addEventListener("DOMContentLoaded", function () {
    show(held());
    const current = document.querySelector(".rail nav [aria-current]");
    if (current && window.innerWidth < 900) current.scrollIntoView({ block: "nearest", inline: "center" });
    document.addEventListener("click", function (event) {
      if (event.target.closest("#theme")) {
        const next = themes[(themes.indexOf(held()) + 1) % themes.length];
        try { localStorage.setItem("rung-theme", next); } catch (_) { /* a private window keeps nothing */ }
        show(next);
      }
      if (event.target.closest("#copy")) {
        const button = document.getElementById("copy");
        navigator.clipboard.writeText(document.getElementById("cli").textContent).then(
          function () { button.textContent = "Copied"; }, function () { button.textContent = "Select and copy"; });
      }
    });
  });
})();

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

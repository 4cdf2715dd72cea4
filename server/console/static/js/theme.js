// Light or dark, before the first paint. A classic script, so that it runs before the page is drawn.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    try {
      return localStorage.getItem("antiphon.theme") ?? "auto";
    } catch {
      return "auto";
    }
  };
  const apply = () => {
    const choice = read();
    const dark = choice === "dark" || (choice === "auto" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    dispatchEvent(new CustomEvent("antiphon:theme", { detail: choice }));
  };
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("antiphon:theme-chosen", apply);
  apply();
})();

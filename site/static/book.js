// Where the widget manager finds its icons: beside itself, seen from any page. RequireJS takes its settings from this variable.
const vendor = (document.documentElement.dataset.content_root || "./") + "_static/vendor/";
window.__jupyter_widgets_assets_path__ = vendor;
window.require = { paths: Object.fromEntries(["base", "controls", "output", "html-manager", "html-manager/dist/libembed-amd"].map(part => ["@jupyter-widgets/" + part, vendor + part.split("/").pop()])) };

// The widget manager speaks to MathJax 2. Our widgets hold no formulas, so it may ask in vain.
let mathjax;
Object.defineProperty(window, "MathJax", { get: () => mathjax, set(value) { mathjax = value; if (value) value.Hub = { Queue() {} }; } });

// A formula in a line of text that is wider than the page (a phone) scrolls by itself.
const fit = () => document.querySelectorAll("mjx-container:not([display])").forEach(formula => {
  formula.classList.remove("ddpm-wide");
  const room = formula.closest("p, li, td, summary, figcaption")?.clientWidth;
  formula.classList.toggle("ddpm-wide", room > 0 && formula.getBoundingClientRect().width > room);
});
addEventListener("load", () => mathjax?.startup?.promise.then(fit));
addEventListener("resize", fit);
document.addEventListener("toggle", fit, true);             // a folded answer has no width before

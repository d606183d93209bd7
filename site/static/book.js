// A formula that is wider than the page (a phone): its number comes close, and it gets a little smaller; if that is not
// enough it breaks after its relations, and gets as small as its widest part asks for; what is still too wide scrolls by
// itself. Without this program all of it scrolls.
const WHOLE = 0.75, SMALLEST = 0.6;
function fitOne(formula) {
  const room = formula.clientWidth, size = e => e ? e.getBoundingClientRect().width : 0;
  formula.classList.remove("ddpm-near", "ddpm-tight");
  formula.style.fontSize = "";
  if (!room) return;                                        // in a folded answer: when it is opened
  const tag = size(formula.querySelector(".katex-html > .tag"));
  const parts = [...formula.querySelectorAll(".katex-html > .base")].map(size);
  const whole = parts.reduce((a, b) => a + b, 0);
  if (whole + 2 * tag <= room) return;
  formula.classList.add("ddpm-near");
  const beside = whole + (tag && tag + 16), widest = Math.max(...parts, 1);
  if (beside <= room) return;
  const one = 0.98 * room / beside;
  if (one >= WHOLE) { formula.style.fontSize = one + "em"; return; }
  formula.classList.add("ddpm-tight");
  if (widest > room) formula.style.fontSize = Math.max(SMALLEST, 0.98 * room / widest) + "em";
}
function fitInline(formula) {
  formula.classList.remove("ddpm-wide");
  const room = formula.closest("p, li, td, summary, figcaption")?.clientWidth;
  formula.classList.toggle("ddpm-wide", room > 0 && formula.getBoundingClientRect().width > room + 1);
}
function fit(within) {
  within.querySelectorAll("div.math").forEach(fitOne);
  within.querySelectorAll("span.math").forEach(fitInline);
}
addEventListener("load", () => document.fonts.ready.then(() => fit(document)));
let last = innerWidth;
addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; fit(document); } });
document.addEventListener("toggle", e => e.target.open && fit(e.target), true);

// Explorers: the slider chooses one of the pictures, the button moves the slider.
function explorer(panel) {
  const frames = JSON.parse(panel.dataset.frames);          // [file, what it shows, what the slider says]
  const [image, slider, button] = ["img", "input", "button"].map(kind => panel.querySelector(kind));
  const [said, caption] = ["output", "figcaption"].map(kind => panel.querySelector(kind));
  let timer;
  function show() {
    const [file, text, label] = frames[slider.value];
    image.src = file;
    image.alt = caption.textContent = text;
    said.textContent = label;
    slider.setAttribute("aria-valuetext", `${label}: ${text}`);
  }
  function stop() {
    clearInterval(timer);
    timer = undefined;
    panel.classList.remove("ddpm-playing");
  }
  function play() {
    if (timer) return stop();
    if (+slider.value >= frames.length - 1) slider.value = 0;
    panel.classList.add("ddpm-playing");
    timer = setInterval(() => {
      slider.value = +slider.value + 1;
      show();
      if (+slider.value >= frames.length - 1) stop();
    }, 400);
    show();
  }
  slider.value = 0;                                         // a browser remembers it when the page is loaded again
  slider.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", play);
  const soon = new IntersectionObserver(seen => {
    if (!seen.some(s => s.isIntersecting)) return;
    soon.disconnect();
    panel.kept = frames.map(([file]) => Object.assign(new Image(), { src: file }));
  }, { rootMargin: "300px" });
  soon.observe(panel);
}
addEventListener("DOMContentLoaded", () => document.querySelectorAll(".ddpm-explorer").forEach(explorer));

// What scrolls sideways can be reached with the keyboard.
addEventListener("load", () => document.querySelectorAll("article pre, div.math, .cell_output, article table").forEach(e => {
  if (e.scrollWidth > e.clientWidth + 1) e.tabIndex = 0;
}));

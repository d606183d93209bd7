// Runs in a picture's `onload`, so `this` is the picture. The slider and the play button of ipywidgets have no name that a
// screen reader could say: give them one, and make the picture's caption the value that the slider speaks. No quotes in here.
const name = () => {
  const panel = this.closest(`.ddpm-explorer`), slider = panel?.querySelector(`.noUi-handle`);
  if (!slider) return this.isConnected && setTimeout(name, 200);
  slider.ariaLabel = panel.querySelector(`.widget-slider .widget-label`).textContent;
  slider.ariaValueText = this.alt;
  const said = [`play or pause`, `back to the start`, `repeat`];
  panel.querySelectorAll(`.widget-play button`).forEach((button, i) => button.ariaLabel = said[i]);
};
name();

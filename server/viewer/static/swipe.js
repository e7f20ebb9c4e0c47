/** The swipe bar: moves with mouse, touch and keyboard. */

/** Percent that a key moves the bar; the ends are where it stops. */
const STEPS = {
  ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100,
};

/**
 * @param {HTMLElement} bar the line, placed over the map by its `left` in percent
 * @param {HTMLElement} handle the slider on it
 * @param {(percent: number) => void} moved called when the user moves it
 * @returns {{set: (percent: number) => void, entitle: (left: string, right: string) => void}}
 */
export function makeSwipe(bar, handle, moved) {
  let position = 50;
  let name = "";

  /** Place the bar without telling anyone. */
  function set(percent) {
    position = Math.min(100, Math.max(0, percent));
    bar.style.left = `${position}%`;
    handle.setAttribute("aria-valuenow", String(Math.round(position)));
    handle.setAttribute("aria-valuetext", `${Math.round(position)} % ${name}`);
  }

  function move(percent) {
    set(percent);
    moved(position);
  }

  let grip = null; // distance between pointer and line while dragging
  bar.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grip = event.clientX - bar.getBoundingClientRect().left;
    bar.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    event.preventDefault();
  });
  bar.addEventListener("pointermove", (event) => {
    if (grip === null) return;
    const frame = bar.parentElement.getBoundingClientRect();
    move(((event.clientX - grip - frame.left) / frame.width) * 100);
  });
  const drop = () => { grip = null; };
  bar.addEventListener("pointerup", drop);
  bar.addEventListener("pointercancel", drop);
  handle.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    move(position + step * (event.shiftKey && Math.abs(step) === 1 ? 10 : 1));
    event.preventDefault();
  });

  /** Say what is left and right of it. */
  function entitle(left, right) {
    name = left;
    bar.querySelector(".before").textContent = left;
    bar.querySelector(".after").textContent = right;
    handle.setAttribute("aria-label", `Swipe bar between ${left} and ${right}`);
    set(position);
  }

  return { set, entitle };
}

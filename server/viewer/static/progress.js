/** How far the pictures of a side are while there are none: what is done, and how much of it is there. */

import { $ } from "./dom.js";
import { coveredPixels } from "./panel.js";
import { countOf, possible } from "./views.js";

const TICK = 250; // milliseconds

/** Says what is under way over the side that waits for it. */
export class Progress {
  /**
   * @param {import("./page.js").Page} page
   * @param {import("./stage.js").Stage} stage
   */
  constructor(page, stage) {
    Object.assign(this, { page, stage, clock: 0, since: 0 });
  }

  /** Look from now on until nothing is missing. */
  watch() {
    if (this.clock) return;
    this.since = performance.now();
    this.clock = setInterval(() => this.tick(), TICK);
  }

  /** @returns {boolean} whether clouds are looked for to make a side */
  fills(side) {
    const { left, right } = this.page.state;
    const view = possible([left, right][side], countOf(this.page));
    return view !== "original" && !view.startsWith("replacement");
  }

  tick() {
    const missing = this.stage.underway.filter(({ side, wanted }) => wanted && this.fills(side));
    $("looking").hidden = !missing.length;
    if (!missing.length) {
      clearInterval(this.clock);
      this.clock = 0;
      return;
    }
    const [wanted, done] = ["wanted", "done"].map((key) => missing.reduce((sum, part) => sum + part[key], 0));
    const seconds = Math.round((performance.now() - this.since) / 1000);
    $("looking-text").textContent = done ? "Removing clouds…" : "Looking for clouds…";
    $("looking-count").textContent = `${done} of ${wanted} tiles, ${seconds} s`;
    Object.assign($("looking-bar"), { max: wanted, value: done });
    const { split } = this.stage;
    const middle = missing[0].side ? (split + $("map").clientWidth) / 2 : (coveredPixels() + split) / 2;
    $("looking").style.left = `${middle}px`;
  }
}

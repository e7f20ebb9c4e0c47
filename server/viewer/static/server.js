/** Requests to the server, and its own words where it refuses. */

import { encode } from "./state.js";

/** The server's reason for not answering as asked. */
export class Refusal extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether there is only nothing to show: the corners of a turned image's frame hold no data. */
  get outside() {
    return this.status === 404 && this.message.includes("outside bounds");
  }
}

/**
 * @param {string} address relative to the page
 * @param {RequestInit} [options] of `fetch`
 * @returns {Promise<Response>} a good answer; a `Refusal` otherwise, an `AbortError` if it is called off
 */
export async function request(address, options = {}) {
  const answer = await fetch(address, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Refusal(0, "The server does not answer.");
  });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail ?? "");
  throw new Refusal(answer.status, detail.length > 2 ? detail : `The server answers ${answer.status} ${answer.statusText}`);
}

/**
 * @param {string} path relative to the page
 * @param {[string, unknown][]} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} the JSON in the answer; raises as `request` does
 */
export async function ask(path, query = [], signal = undefined) {
  return (await request(query.length ? `${path}?${encode(query)}` : path, { signal })).json();
}

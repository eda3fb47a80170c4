/** The time left of a job. The service reports it only with state changes; in between it is counted down here. */

/** @typedef {import("./api.js").Job} Job */

const TICK_MS = 1000;

export class Countdown {
  /** @type {Job} */ #job;
  #due_ms = 0;
  #timer = 0;

  /**
   * @param {Job} job with an estimate that is fresh
   * @param {(job: Job) => void} onChange called at once and every second, with the time left
   */
  constructor(job, onChange) {
    this.onChange = onChange;
    this.restart(job);
  }

  /** @param {Job} job with an estimate that is fresh */
  restart(job) {
    this.#due_ms = performance.now() + 1000 * (job.eta_s ?? 0);
    this.#goOn(job);
  }

  /** @param {Partial<Job>} news without an estimate */
  amend(news) {
    this.#goOn({ ...this.#job, ...news });
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** @param {Job} job */
  #goOn(job) {
    this.#job = job;
    this.stop();
    this.#timer = setTimeout(() => this.#goOn(job), TICK_MS);
    this.onChange({ ...job, eta_s: job.eta_s === null ? null : this.#left_s() });
  }

  #left_s() {
    return Math.max(0, this.#due_ms - performance.now()) / 1000;
  }
}

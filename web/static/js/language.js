/** The reader's language: its phrases, and how it writes numbers and times. */

import english from "./phrases-en.js";
import chinese from "./phrases-zh.js";

const isChinese = document.documentElement.lang === "zh";
export const say = isChinese ? chinese : english;
/** Times and numbers as the reader's own system writes them, unless that speaks another language than the page. */
const locale = navigator.language.startsWith(document.documentElement.lang) ? undefined : isChinese ? "zh-CN" : "en";
/** @type {Intl.DateTimeFormatOptions} */
const CLOCK = { hour: isChinese ? "2-digit" : "numeric", minute: "2-digit" };
const MINUTE_S = 60;
const HOUR_S = 3600;

/** @param {number} value */
export function seconds(value) {
  const digits = value < 10 && !Number.isInteger(value) ? 1 : 0;
  return say.seconds(number(value, digits));
}

/**
 * A time that need not be exact and should not flicker.
 *
 * @param {number} value in seconds
 */
export function roughly(value) {
  if (value < 2 * MINUTE_S - 5) return say.seconds(number(5 * Math.max(1, Math.ceil(value / 5))));
  if (value < HOUR_S - MINUTE_S / 2) return say.minutes(number(Math.round(value / MINUTE_S)));
  const minutes = Math.round((value % HOUR_S) / MINUTE_S);
  return [say.hours(number(Math.floor(value / HOUR_S))), ...(minutes ? [say.minutes(number(minutes))] : [])].join(" ");
}

/**
 * @param {number} value
 * @param {number} [digits] after the point
 */
export function number(value, digits = 0) {
  return value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {...string} parts each without its full stop */
export function sentences(...parts) {
  return parts
    .filter(Boolean)
    .map((part) => part + say.stop)
    .join(say.space);
}

/**
 * @param {Date} time
 * @param {Intl.DateTimeFormatOptions} day what of its day is said
 */
export function moment(time, day) {
  const words = time.toLocaleString(locale, { ...day, ...CLOCK });
  return words.replace(/(\p{Script=Han})(\d+:)/u, "$1 $2"); // "星期二04:14" is hard to read
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return `${(bytes / 1048576).toLocaleString(locale, { maximumFractionDigits: 1 })} MiB`;
}

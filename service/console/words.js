// Numbers, ages and shares in words.

const DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function numberWords(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const long = size !== 0 && (size >= 1e9 || size < 1e-4);
  const words = long ? size.toExponential(3) : Number.isInteger(size) ? WHOLE.format(size) : DIGITS.format(size);
  return (value < 0 ? "−" : "") + words;
}

function signedWords(value) {
  return (value < 0 ? "−" : "+") + numberWords(Math.abs(value));
}

function percentWords(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.1) return "under 0.1 %";
  if (percent < 100 && percent > 99.9) return "over 99.9 %";
  return `${percent.toFixed(1)} %`;
}

function valueWords(value) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "number") return numberWords(value);
  return { "": "(empty text)", __unseen__: "unseen in training" }[value] ?? String(value);
}

function durationWords(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const sign = seconds < 0 ? "−" : "";
  const long = Math.abs(seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (long >= length) return `${sign}${(long / length).toFixed(long / length < 10 ? 1 : 0)} ${unit}`;
  }
  return `${sign}${long.toFixed(0)} s`;
}

function shortened(text, most) {
  if (text.length <= most) return text;
  const kept = Math.max(most - 1, 2);
  return text.slice(0, Math.ceil(kept / 2)) + "…" + text.slice(text.length - Math.floor(kept / 2));
}

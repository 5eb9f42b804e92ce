// Where a value lies among the training rows.

const QUANTILES = [0, 1, 5, 25, 50, 75, 95, 99, 100];
const [CHART_WIDTH, CHART_HEIGHT, MOST_CATEGORIES] = [150, 32, 12];

// value: what the model saw; undefined if it is not known. Returns {sentence, chart}.
function distributionOf(input, value) {
  return input.vocabulary ? categories(input, value) : numbers(input, value);
}

function numbers(input, value) {
  const { quantiles, histogram, null_rate: nulls } = input.distribution;
  let sentence = "";
  if (value === null) sentence = `${percentWords(nulls)} of rows have none`;
  else if (typeof value === "number") sentence = quantileWords(quantiles, value);
  if (!histogram || !histogram.edges.length) return { sentence, chart: null };
  const bin = typeof value === "number" ? histogram.edges.filter((edge) => edge < value).length : -1;
  return { sentence, chart: bars(histogram.counts, bin) };
}

function quantileWords(quantiles, value) {
  const [least, most] = [quantiles[0], quantiles.at(-1)];
  if (value < least) return `below all training rows (least ${numberWords(least)})`;
  if (value > most) return `above all training rows (most ${numberWords(most)})`;
  const equal = QUANTILES.filter((_, at) => quantiles[at] === value);
  if (equal.length === QUANTILES.length) return "as all training rows";
  if (equal.length) return equal.length === 1 ? `percentile ${equal[0]}` : `percentile ${equal[0]} to ${equal.at(-1)}`;
  const above = quantiles.findIndex((quantile) => quantile > value);
  return `between percentile ${QUANTILES[above - 1]} and ${QUANTILES[above]}`;
}

function categories(input, value) {
  const { histogram, training } = input.distribution;
  const rows = training.reduce((sum, count) => sum + count, 0);
  const code = value === null || value === undefined ? -1 : input.vocabulary.findIndex((each) => String(each) === String(value));
  let sentence = "";
  if (value === null) sentence = `${percentWords(input.distribution.null_rate)} of rows have none`;
  else if (code >= 0) sentence = rows ? `${percentWords(training[code] / rows)} of rows` : "";
  else if (value !== undefined) sentence = "not in the training rows";
  const order = histogram.counts.map((count, at) => [count, at]).sort((one, other) => other[0] - one[0]);
  const shown = order.slice(0, MOST_CATEGORIES);
  if (code >= 0 && !shown.some(([, at]) => at === code)) shown[shown.length - 1] = [histogram.counts[code], code];
  return { sentence, chart: bars(shown.map(([count]) => count), shown.findIndex(([, at]) => at === code)) };
}

// Bars of like width: bins of a histogram hold about equally many rows and differ in width. `marked` is the value's.
function bars(counts, marked) {
  const most = Math.max(...counts, 1);
  const wide = CHART_WIDTH / counts.length;
  return drawn("svg", { viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, width: CHART_WIDTH, height: CHART_HEIGHT, "aria-hidden": "true" },
    counts.map((count, at) => {
      const height = Math.max((count / most) * (CHART_HEIGHT - 6), 1);
      return drawn("rect", { class: at === marked ? "here" : "bar", x: at * wide + 0.5, y: CHART_HEIGHT - 5 - height, width: Math.max(wide - 1, 1), height });
    }),
    marked >= 0 ? drawn("path", { class: "here", d: `M${(marked + 0.5) * wide - 4} ${CHART_HEIGHT} l4 -5 l4 5 z` }) : "");
}

// One prediction: score and decision, how it was made, and how it moved when a value was changed.

// Task -> what is shown of a prediction. `score` is the number that what-if compares.
const TASKS = {
  binary: {
    score: (service, row) => row[service.outputs.probability],
    words: (service, score) => percentWords(score),
    change: (service, difference) => `${difference < 0 ? "−" : "+"}${(100 * Math.abs(difference)).toFixed(2)} points`,
    headline: (service, row) => service.task.classes[Number(row[service.outputs.decision])],
    facts: (service, row) => [
      [service.outputs.probability, exact(row[service.outputs.probability])],
      [service.outputs.decision, String(row[service.outputs.decision])],
      ["threshold", `${numberWords(service.task.threshold.value)} (${service.task.threshold.rule})`],
    ],
    drawing: (service, row) => thresholdPicture(row[service.outputs.probability], service.task.threshold.value),
  },
  multiclass: {
    score: (service, row) => row[service.outputs.probabilities]?.[row[service.outputs.class]] ?? null,
    words: (service, score) => percentWords(score),
    change: (service, difference) => `${difference < 0 ? "−" : "+"}${(100 * Math.abs(difference)).toFixed(2)} points`,
    headline: (service, row) => row[service.outputs.class],
    facts: (service, row) => [[service.outputs.class, row[service.outputs.class]]],
    drawing: (service, row) => classTable(service, row[service.outputs.probabilities], row[service.outputs.class]),
  },
  regression: {
    score: (service, row) => row[service.outputs.value],
    words: (service, score) => [numberWords(score), service.task.unit].filter(Boolean).join(" "),
    change: (service, difference) => [signedWords(difference), service.task.unit].filter(Boolean).join(" "),
    headline: () => "",
    facts: (service, row) => [
      [service.outputs.value, exact(row[service.outputs.value])],
      ["unit", service.task.unit],
      ["at least", service.task.at_least === null ? "" : numberWords(service.task.at_least)],
      ["at most", service.task.at_most === null ? "" : numberWords(service.task.at_most)],
    ],
    drawing: () => null,
  },
};

function exact(number) {
  return el("span", { class: "number" }, String(number));
}

function scoreWords(service, row) {
  const task = TASKS[service.task.kind];
  const score = task.score(service, row);
  if (score !== null && score !== undefined) return [task.headline(service, row), task.words(service, score)].filter(Boolean).join(" · ");
  return row[service.outputs.class] ?? "no score"; // an older log does not have the probability of a class
}

function keyWords(service, row) {
  return service.keys.map((key) => row[key.join_key]).join(" · ");
}

// first: the answer without changed values, or null where there is none to compare with.
function showAnswer(service, row, first) {
  const task = TASKS[service.task.kind];
  const moved = first ? task.score(service, row) - task.score(service, first) : 0;
  const drawing = task.drawing(service, row);
  const made = el("dl");
  facts(made, [
    ...service.keys.map((key) => [key.join_key, String(row[key.join_key])]),
    ...task.facts(service, row),
    ["status", stateMark(row.status)],
    ["features", row.cached_seconds === null ? "" : `last known good ones, read ${durationWords(row.cached_seconds)} ago`],
    ["answered by", `${row.model.name} version ${row.model.version} (${row.model.role})`],
    ["request id", row.request_id],
  ]);
  byId("answer-body").replaceChildren(el("div", { class: "answer" },
    el("div", {},
      el("p", { class: "score" }, scoreWords(service, row)),
      first ? el("p", { id: "moved" }, `${task.change(service, moved)} against ${scoreWords(service, first)} without your changes`) : "",
      drawing ?? "", issues(row)),
    made));
  byId("answer").hidden = false;
}

function issues(row) {
  if (!row.feature_issues.length) return "";
  return el("div", { class: "small" }, el("p", {}, "Features that were not simply fresh:"),
    el("ul", {}, row.feature_issues.map((issue) => el("li", { class: "name" },
      `${issue.feature}: ${issue.state}${issue.age_seconds === null ? "" : `, ${durationWords(issue.age_seconds)} old`}; the model saw the ${issue.used}`))));
}

function thresholdPicture(probability, threshold) {
  const width = 300;
  return picture(width, 34, `Probability ${percentWords(probability)}, threshold ${percentWords(threshold)}`,
    drawn("rect", { class: "track", x: 0, y: 4, width, height: 12, rx: 3 }),
    drawn("rect", { class: "level", x: 0, y: 4, width: width * probability, height: 12, rx: 3 }),
    drawn("line", { class: "rule", x1: width * threshold, x2: width * threshold, y1: 0, y2: 20 }),
    drawn("text", { class: "quiet", x: Math.min(Math.max(width * threshold, 30), width - 30), y: 32, "text-anchor": "middle" }, "threshold"));
}

const MOST_CLASSES = 20;

function classTable(service, probabilities, answered) {
  if (!probabilities) return null;
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const listed = sorted.slice(0, MOST_CLASSES);
  const caption = sorted.length > listed.length ? `The ${MOST_CLASSES} likeliest of ${sorted.length} classes` : "Probability of each class";
  return table(caption, [["class"], ["probability", "number"]], listed.map(([name, probability]) => [
    name === answered ? el("strong", {}, name) : name, [percentWords(probability), shareBar(probability)]]));
}

function shareBar(share) {
  return drawn("svg", { viewBox: "0 0 120 14", width: 120, height: 14, "aria-hidden": "true" },
    drawn("rect", { class: "track", width: 120, height: 14, rx: 3 }),
    drawn("rect", { class: "level", width: 120 * Math.min(Math.max(share, 0), 1), height: 14, rx: 3 }));
}

// Answers of several rows; `details` is called with the place of the row that a person wants to see.
function showBatch(service, predictions, details) {
  const columns = [...service.keys.map((key) => [key.join_key, "name"]), ["score", "number"], ["status"], ["details"]];
  const rows = predictions.map((row, at) => [
    ...service.keys.map((key) => String(row[key.join_key])),
    scoreWords(service, row),
    stateMark(row.status),
    row.status === "ok" || row.status === "degraded"
      ? el("button", { type: "button", "aria-label": `Details of ${keyWords(service, row)}`, onclick: () => details(at) }, "Details")
      : "",
  ]);
  byId("batch-rows").replaceChildren(table(`${predictions.length} rows, in the order asked`, columns, rows));
  byId("batch").hidden = false;
}

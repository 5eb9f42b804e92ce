// What happens when: the model is read, rows are asked for, a value is changed.

const page = { service: null, notExplained: "", row: null, first: null, stored: new Map(), running: null };

function say(text) {
  byId("said").textContent = text;
}

function showProblem(error) {
  say("");
  const field = error.field ? `${error.field}: ` : "";
  const message = error.message.startsWith(field) ? error.message : field + error.message;
  const id = error.requestId ? `, request ${error.requestId}` : "";
  byId("problem").replaceChildren(el("p", { class: "problem" }, `${message} (${error.code}${id})`));
}

// Runs what a person asked for. A later question ends an earlier one; an error of the API is shown.
async function during(words, action) {
  page.running?.abort();
  const running = (page.running = new AbortController());
  byId("problem").replaceChildren();
  say(words);
  try {
    await action(running.signal);
  } catch (error) {
    if (error.name === "AbortError" || running.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    showProblem(error);
    markNamed(error);
    markOverride(error);
  }
}

async function loadModel() {
  const body = await get("model");
  page.service = serviceOf(body);
  page.notExplained = "";
  document.title = `${page.service.name} – console`;
  byId("title").textContent = page.service.name;
  showAbout();
}

const CHALLENGER_ANSWERS = {
  shadow: "in the inference log, where make compare-live compares them",
  canary: "to its share of the keys; \"answered by\" says who answered",
};

function showAbout() {
  const { service } = page;
  const { challenger, label, release, runtime } = service;
  const share = challenger?.share ? `, ${percentWords(challenger.share)} of the keys` : "";
  facts(byId("about"), [
    ["model", `${service.name} version ${service.version}`],
    ["tag", service.tag],
    ["task", service.task.kind + (service.task.classes ? `: ${service.task.classes.join(", ")}` : "")],
    ["predicts", label ? [label.definition || label.name, label.days ? `known after ${label.days} days` : ""].filter(Boolean).join("; ") : ""],
    ["contract", el("code", {}, service.hash)],
    ["feature service", service.featureService],
    ["runs on", runtime ? [runtime.name, runtime.reason].filter(Boolean).join(": ") : ""],
    ["release", [release.version, release.commit, release.image].filter(Boolean).join(", ")],
    ["challenger", challenger ? `${challenger.tag} (${challenger.mode}${share})` : "none"],
    ["its answers", challenger ? CHALLENGER_ANSWERS[challenger.mode] : ""],
  ]);
}

async function askRows() {
  const rows = askedRows();
  if (!rows) {
    say("A field is not filled in as needed.");
    return;
  }
  for (const id of ["batch", "answer", "explanation", "features", "history"]) byId(id).hidden = true;
  await during("Scoring…", async (signal) => {
    if (rows.length > 1) return askBatch(rows, signal);
    await openEntity(rows[0], signal);
    return showLogged(signal);
  });
}

// A batch's body, which `POST /features` takes too.
function batchBody(rows) {
  const { keys, asked } = page.service;
  if (keys.length === 1 && keys[0].dtype === "string" && !asked.length) {
    return { [`${keys[0].join_key}s`]: rows.map((row) => row.keys[keys[0].join_key]) };
  }
  return { rows: rows.map((row) => ({ ...row.keys, ...(asked.length ? { inputs: row.inputs } : {}) })) };
}

async function askBatch(rows, signal) {
  const body = await post("predict_batch", batchBody(rows), signal);
  const predictions = body.predictions.map((row) => ({ request_id: body.request_id, model: body.model, ...row }));
  showBatch(page.service, predictions, (at) => during("Scoring…", async (later) => {
    await openEntity(rows[at], later);
    byId("answer-heading").focus();
    await showLogged(later);
  }));
  say(`${predictions.length} rows answered.`);
}

async function openEntity(row, signal) {
  const answer = await answerOf(row, {}, signal);
  if (answer.prediction.model.role === "champion" && answer.prediction.model.version !== page.service.version) await loadModel();
  Object.assign(page, { row, first: answer.prediction, stored: await storedFeatures(row, signal) });
  openFeatures(page.service, seenFeatures(answer.prediction), (overrides) => during("Scoring…", (later) => whatIf(overrides, later)));
  byId("reset").disabled = true;
  showAll(answer, null);
}

async function whatIf(overrides, signal) {
  const changed = Object.keys(overrides).length > 0;
  const answer = await answerOf(page.row, overrides, signal);
  updateFeatures(seenFeatures(answer.prediction));
  showAll(answer, changed ? page.first : null);
  await showLogged(signal);
}

function showAll({ prediction, why }, first) {
  showAnswer(page.service, prediction, first);
  showExplanation(page.service, prediction.contributions ? prediction : null, why);
  say(`${keyWords(page.service, prediction)}: ${scoreWords(page.service, prediction)}, ${prediction.status}.`);
}

// An answer with contributions; where there can be none, the prediction alone and why.
async function answerOf(row, overrides, signal) {
  const body = { ...row.keys };
  if (page.service.asked.length) body.inputs = row.inputs;
  if (Object.keys(overrides).length) body.features = overrides;
  let why = page.notExplained;
  if (!why) {
    try {
      return { prediction: await post("explain", body, signal), why };
    } catch (error) {
      if (!["not_explainable", "explainer_unavailable", "overloaded"].includes(error.code)) throw error;
      why = error.message;
      if (error.code === "not_explainable" && error.role !== "challenger") page.notExplained = why;
    }
  }
  return { prediction: await post("predict", body, signal), why };
}

// What the store has of one entity, by feature; empty where the service has no such call.
async function storedFeatures(row, signal) {
  if (absent.has("features")) return new Map();
  try {
    const [found] = (await post("features", batchBody([row]), signal)).rows;
    return new Map(Object.entries(found.features ?? {}).flatMap(([name, feature]) => elementsOf(name, feature)));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "not_found") absent.add("features");
    return new Map();
  }
}

// An array has its values in one list; the model's inputs are its elements.
function elementsOf(name, feature) {
  const of = (values, at) => (Array.isArray(values) ? values[at] : values);
  const inputs = page.service.inputs.filter((input) => input.name === name || (input.element !== undefined && input.name === `${name}__${input.element}`));
  return inputs.map((input) => {
    const stored = of(feature.value, input.element ?? 0);
    const value = "used" in feature ? of(feature.used, input.element ?? 0) : stored;
    return [input.name, { ...feature, stored, value }];
  });
}

// What is known of each feature: of an explanation what the model saw, else what is stored and what the issues say.
function seenFeatures(prediction) {
  if (prediction.contributions) {
    return new Map(prediction.contributions.map((each) => [each.feature, { ...each, stored: page.stored.get(each.feature)?.stored }]));
  }
  const seen = new Map(page.stored);
  for (const issue of prediction.feature_issues) {
    const { value, stored } = seen.get(issue.feature) ?? {};
    const changed = issue.state === "overridden";
    seen.set(issue.feature, { value: changed ? sheet.overrides[issue.feature] : value, stored, state: issue.state, age_seconds: issue.age_seconds });
  }
  return seen;
}

async function showLogged(signal) {
  await new Promise((resolve) => setTimeout(resolve, 1000 * LOG_SECONDS));
  if (signal.aborted) return;
  await showHistory(page.service, page.row.keys);
}

let health = "";

async function watchHealth() {
  if (!document.hidden) {
    const ready = await isReady();
    const words = ready === null ? "not reachable" : ready ? "ready" : "not ready: the online store does not answer, or its data are too old";
    if (words !== health) byId("health").replaceChildren(el("span", { class: ready ? "good" : "bad" }, `● ${words}`));
    health = words;
  }
  setTimeout(watchHealth, 15_000);
}

function start() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (page.service) askRows();
    else open();
  });
  byId("add-row").addEventListener("click", () => page.service && addRow(true));
  byId("filter").addEventListener("input", filterFeatures);
  byId("reset").addEventListener("click", resetFeatures);
  byId("change-key").addEventListener("click", () => askForKey("Another key for the calls of this page.").then(() => page.service || open(), () => {}));
  watchHealth();
  open();
}

function open() {
  return during("Reading the model…", async () => {
    await loadModel();
    openForm(page.service);
    say("");
  });
}

start();

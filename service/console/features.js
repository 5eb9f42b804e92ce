// Every feature of one entity, and what-if: a changed value is sent as an override.

const sheet = { rows: [], overrides: {}, changed: null };
const COLUMNS = [["feature"], ["value", "number"], ["state"], ["age of TTL"], ["in training"], ["adds", "number"], ["what if", "what-if"]];

// seen: what is known of each feature by name: {value, stored, state, age_seconds, contribution}; `value` is what the model
// saw. `changed` is called after a change, with the overrides.
function openFeatures(service, seen, changed) {
  sheet.overrides = {};
  sheet.changed = changed;
  const weight = (input) => Math.abs(seen.get(input.name)?.contribution ?? 0);
  const inputs = [...service.inputs].sort((one, other) => weight(other) - weight(one));
  sheet.rows = inputs.map((input, at) => featureRow(input, at));
  const listed = table(`${inputs.length} features of ${service.featureService}`, COLUMNS, []);
  listed.querySelector("tbody").append(...sheet.rows.map((row) => row.element));
  byId("features-body").replaceChildren(listed);
  byId("features").hidden = false;
  filterFeatures();
  updateFeatures(seen);
}

function featureRow(input, at) {
  const name = el("div", {}, el("span", { class: "name" }, input.short), el("div", { class: "muted small" }, input.view));
  const cells = { value: el("div"), state: el("div"), age: el("div"), training: el("div"), adds: el("div") };
  const whatIf = whatIfField(input, `what-if-${at}`);
  const shown = [name, cells.value, cells.state, cells.age, cells.training, cells.adds, whatIf.element];
  return { input, cells, whatIf, element: tableRow(COLUMNS, shown) };
}

function updateFeatures(seen) {
  for (const { input, cells } of sheet.rows) {
    const { value, stored, state, age_seconds: age, contribution } = seen.get(input.name) ?? {};
    const { sentence, chart } = distributionOf(input, value);
    const differs = stored !== undefined && featureWords(input, stored) !== featureWords(input, value);
    cells.value.replaceChildren(el("span", {}, value === undefined ? "–" : featureWords(input, value)),
      differs ? el("div", { class: "muted small" }, `stored: ${featureWords(input, stored)}`) : "");
    cells.state.replaceChildren(state ? stateMark(state) : "–");
    cells.age.replaceChildren(...ageOf(age, input.ttls));
    cells.training.replaceChildren(...[chart, el("div", { class: "small" }, sentence)].filter(Boolean));
    cells.adds.replaceChildren(contribution === undefined ? "–" : signedWords(contribution));
  }
}

function featureWords(input, value) {
  return input.dtype === "bool" && value !== null ? String(Boolean(value)) : valueWords(value);
}

// An input of several views can have several TTLs: then its age is beside none of them.
function ageOf(age, ttls) {
  const limits = ttls.map((ttl) => (ttl === null ? "no TTL" : durationWords(ttl))).join(" and ");
  const one = ttls.length === 1 ? ttls[0] : null;
  if (age === null || age === undefined) return [one === null ? limits : `TTL ${limits}`];
  if (one === null) return [`${durationWords(age)}, ${limits}`];
  return [`${durationWords(age)} of ${limits}`, shareBar(age / one)];
}

function whatIfField(input, id) {
  const about = `New value of ${input.short} of ${input.view}`;
  const bool = input.dtype === "bool" && input.kind === "numeric";
  const listed = input.vocabulary ? el("datalist", { id: `${id}-list` }, input.vocabulary.slice(0, 500).map((value) => el("option", { value }))) : "";
  const control = bool
    ? el("select", { id, "aria-label": about }, ["", "true", "false"].map((value) => el("option", { value }, value || "unchanged")))
    : el("input", { id, type: "text", "aria-label": about, "aria-describedby": `${id}-problem`, autocomplete: "off", spellcheck: "false",
      placeholder: input.kind === "age" ? "seconds" : "unchanged", list: listed ? `${id}-list` : null, inputmode: input.vocabulary ? null : "decimal" });
  const problem = el("div", { class: "field-problem", id: `${id}-problem` });
  const none = input.nullable ? el("input", { type: "checkbox" }) : null;
  const field = { name: input.name, control, problem, none };
  const change = () => changeFeature(input, field);
  control.addEventListener("input", later(change, 350));
  none?.addEventListener("change", change);
  field.element = el("div", {}, control, listed, none ? el("label", { class: "small" }, none, "null") : "", problem);
  return field;
}

// Calls `action` once typing has paused.
function later(action, milliseconds) {
  let waiting = 0;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(action, milliseconds);
  };
}

function changeFeature(input, field) {
  const before = JSON.stringify(sheet.overrides);
  markField(field, "");
  const isNull = field.none?.checked ?? false;
  field.control.disabled = isNull;
  try {
    if (isNull) sheet.overrides[input.name] = null;
    else if (field.control.value === "") delete sheet.overrides[input.name];
    else sheet.overrides[input.name] = overrideValue(input, field.control.value);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    markField(field, error.message);
    return;
  }
  if (JSON.stringify(sheet.overrides) !== before) changedFeatures();
}

function changedFeatures() {
  byId("reset").disabled = Object.keys(sheet.overrides).length === 0;
  sheet.changed(sheet.overrides);
}

function resetFeatures() {
  for (const { whatIf } of sheet.rows) {
    whatIf.control.value = "";
    whatIf.control.disabled = false;
    if (whatIf.none) whatIf.none.checked = false;
    markField(whatIf, "");
  }
  sheet.overrides = {};
  byId("filter").focus();
  changedFeatures();
}

function filterFeatures() {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const { input, element } of sheet.rows) element.hidden = !input.name.toLowerCase().includes(wanted);
}

// Marks the value that an error of the API names: `features.<feature>`.
function markOverride(error) {
  const row = sheet.rows.find(({ input }) => error.field === `features.${input.name}`);
  if (row) markField(row.whatIf, error.message);
}

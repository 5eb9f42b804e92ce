// The form: one row per entity, with a field for each join key and each value that the request brings.

const form = { service: null, rows: [], made: 0 };

function openForm(service) {
  form.service = service;
  form.rows = [];
  byId("rows").replaceChildren();
  addRow();
}

function addRow(focus = false) {
  const service = form.service;
  const number = (form.made += 1);
  const row = {
    keys: service.keys.map((key) => formField(`row${number}-${key.join_key}`, key.join_key, key.dtype, null, true)),
    inputs: service.asked.map((given) => formField(`row${number}-${given.name}`, given.name, given.dtype, given.default ?? null, false)),
  };
  const remove = el("button", { type: "button", onclick: () => removeRow(row) }, "Remove");
  row.legend = el("legend", { class: "unseen" });
  row.remove = remove;
  row.element = el("fieldset", { class: "row" }, row.legend, [...row.keys, ...row.inputs].map((field) => field.element), remove);
  form.rows.push(row);
  byId("rows").append(row.element);
  numberRows();
  if (focus) row.keys[0].control.focus();
}

function removeRow(row) {
  const at = form.rows.indexOf(row);
  form.rows.splice(at, 1);
  row.element.remove();
  numberRows();
  form.rows[Math.min(at, form.rows.length - 1)].keys[0].control.focus();
}

function numberRows() {
  form.rows.forEach((row, at) => {
    row.legend.textContent = `Row ${at + 1}`;
    row.remove.setAttribute("aria-label", `Remove row ${at + 1}`);
    row.remove.hidden = form.rows.length === 1;
  });
}

function formField(id, name, dtype, standIn, isKey) {
  const whole = /^int/.test(dtype);
  const control = dtype === "bool"
    ? el("select", { id }, standIn === null ? "" : el("option", { value: "" }, `default: ${standIn}`), el("option", {}, "true"), el("option", {}, "false"))
    : el("input", { id, type: "text", spellcheck: "false", autocomplete: "off", inputmode: whole || /^float/.test(dtype) ? (whole ? "numeric" : "decimal") : null,
      placeholder: standIn === null ? null : `default: ${standIn}`, required: standIn === null && dtype !== "string" || isKey });
  control.setAttribute("aria-describedby", `${id}-type ${id}-problem`);
  if (isKey && form.service.keys.length === 1) control.addEventListener("paste", (event) => pasteRows(event, control));
  const problem = el("div", { class: "field-problem", id: `${id}-problem` });
  const hint = typeWords(dtype) + (standIn === null ? "" : ", optional");
  const element = el("div", { class: "field" }, el("label", { for: id, class: "name" }, name), " ",
    el("span", { class: "type", id: `${id}-type` }, hint), control, problem);
  return { name, dtype, standIn, isKey, control, problem, element };
}

// Several lines pasted into a key become several rows.
function pasteRows(event, control) {
  const lines = event.clipboardData.getData("text").split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length < 2) return;
  event.preventDefault();
  lines.forEach((line, at) => {
    if (at === 0) control.value = line;
    else {
      addRow();
      form.rows.at(-1).keys[0].control.value = line;
    }
  });
}

function markField(field, message) {
  field.problem.textContent = message;
  if (message) field.control.setAttribute("aria-invalid", "true");
  else field.control.removeAttribute("aria-invalid");
}

// The rows as requests have them: {keys, inputs}. Returns null if a field is wrong; the first wrong one has the focus.
function askedRows() {
  let wrong = null;
  const rows = form.rows.map((row) => {
    const asked = { keys: {}, inputs: {} };
    for (const field of [...row.keys, ...row.inputs]) {
      markField(field, "");
      try {
        const text = field.control.value;
        if (field.isKey) asked.keys[field.name] = keyValue(field.dtype, text);
        else if (text !== "" || field.standIn === null) asked.inputs[field.name] = typedValue(field.dtype, text);
      } catch (error) {
        if (!(error instanceof ValueError)) throw error;
        markField(field, error.message);
        wrong ??= field;
      }
    }
    return asked;
  });
  wrong?.control.focus();
  return wrong ? null : rows;
}

// Marks the field that an error of the API names: `customer_id`, `inputs.amount`, `rows.3.inputs.amount`, `customer_ids.3`.
function markNamed(error) {
  const path = error.field.split(".");
  const at = Number(path.find((part) => /^\d+$/.test(part)) ?? 0);
  const row = form.rows[at];
  const name = path.at(-1);
  const listed = row && form.service.keys.length === 1 && path[0] === `${form.service.keys[0].join_key}s`;
  const field = listed ? row.keys[0] : [...(row?.keys ?? []), ...(row?.inputs ?? [])].find((each) => each.name === name);
  if (field) markField(field, error.message);
}

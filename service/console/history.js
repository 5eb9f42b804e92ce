// The last logged answers of one entity. The panel is there if the call is.

const HISTORY_ROWS = 20;
const LOG_SECONDS = 1.6; // the log is written about once a second

async function showHistory(service, keys) {
  if (absent.has("history")) return;
  const section = byId("history");
  let found;
  try {
    const query = new URLSearchParams({ ...keys, limit: String(HISTORY_ROWS) });
    found = await get(`history?${query}`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "not_found") absent.add("history");
    section.hidden = error.status === 404;
    byId("history-body").replaceChildren(el("p", { class: "warning" }, `${error.message} (${error.code})`));
    return;
  }
  const shadowed = found.answers.some((answer) => answer.shadow !== null);
  const columns = [
    ["time", "number"], ["score", "number"], ["status"], ["model"],
    ...(shadowed ? [["a shadow's score", "number"]] : []),
    ["request id", "name small"],
  ];
  const rows = found.answers.map((answer) => [
    localTime(answer.time),
    scoreWords(service, answer),
    stateMark(answer.status),
    `version ${answer.model_version} (${answer.role})`,
    ...(shadowed ? [shadowWords(service, answer.shadow)] : []),
    answer.request_id,
  ]);
  byId("history-body").replaceChildren(rows.length
    ? table(`${rows.length} answers, newest first${found.complete ? "" : "; there may be further ones"}`, columns, rows)
    : el("p", { class: "muted" }, `The log holds no answer of this ${service.entity} yet.`));
  section.hidden = false;
}

function shadowWords(service, shadow) {
  return shadow === null ? "–" : `${scoreWords(service, shadow)} (version ${shadow.model_version})`;
}

function localTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? String(text) : el("time", { datetime: text }, time.toLocaleString("en-GB"));
}

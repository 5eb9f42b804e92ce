// The last logged answers of one entity, and among them the challenger's. The panel is there if the call is.

const HISTORY_ROWS = 20;
const LOG_SECONDS = 1.6; // the log is written about once a second

async function showHistory(service, keys) {
  if (absent.has("history")) return [];
  const section = byId("history");
  let answers;
  try {
    const query = new URLSearchParams({ ...keys, limit: String(HISTORY_ROWS) });
    answers = (await get(`history?${query}`)).answers;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "not_found") absent.add("history");
    section.hidden = error.status === 404;
    byId("history-body").replaceChildren(el("p", { class: "warning" }, `${error.message} (${error.code})`));
    return [];
  }
  const columns = [["time", "number"], ["score", "number"], ["status"], ["model"], ["request id", "name small"]];
  const rows = answers.map((answer) => [
    localTime(answer.time),
    scoreWords(service, answer),
    stateMark(answer.status),
    `version ${answer.model_version} (${answer.role})`,
    answer.request_id,
  ]);
  byId("history-body").replaceChildren(rows.length
    ? table(`${rows.length} answers, newest first`, columns, rows)
    : el("p", { class: "muted" }, `The log holds no answer of this ${service.entity} yet.`));
  section.hidden = false;
  return answers;
}

function localTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? String(text) : el("time", { datetime: text }, time.toLocaleString("en-GB"));
}

// The challenger's row of a request, in words; empty if the log has none.
function challengerWords(service, answers, requestId) {
  const row = answers.find((answer) => answer.request_id === requestId && answer.role === "challenger");
  return row ? `${scoreWords(service, row)} (version ${row.model_version}, for the same request)` : "";
}

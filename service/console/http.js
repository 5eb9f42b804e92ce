// Calls of the API. The API key is a variable of this page and nothing else: no storage, no cookie, no URL.

const ROOT = location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`;
let apiKey = "";
const absent = new Set(); // calls that this service does not have, so that they are asked for once

class ApiError extends Error {
  constructor(status, error, role = "") {
    super(error.message);
    this.role = role;
    this.status = status;
    this.code = error.code;
    this.field = error.field ?? "";
    this.requestId = error.request_id ?? "";
  }
}

function newRequestId() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return `console-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// Returns the answer's body. Asks for the API key if the service wants one, and then calls again.
async function call(method, path, body, signal) {
  for (;;) {
    const headers = { "X-Request-ID": newRequestId() };
    if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await answered(ROOT + path, { method, headers, body, signal });
    if (response.ok) return response.json();
    const error = await errorOf(response);
    if (response.status !== 401) throw error;
    await askForKey(apiKey ? "The service does not accept this key." : "The service asks for an API key.", error);
  }
}

async function answered(url, request) {
  try {
    return await fetch(url, { ...request, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "unreachable", message: "the service does not answer" });
  }
}

async function errorOf(response) {
  const unknown = { code: `http_${response.status}`, message: `the service answered ${response.status}` };
  try {
    const body = await response.json();
    return new ApiError(response.status, body.error ?? unknown, body.model?.role);
  } catch {
    return new ApiError(response.status, unknown);
  }
}

function get(path) {
  return call("GET", path);
}

function post(path, body, signal) {
  return call("POST", path, JSON.stringify(body), signal);
}

// Health needs no key: true, false, or null if the service cannot be reached.
async function isReady() {
  try {
    const response = await answered(`${ROOT}readyz`, {});
    await response.text();
    return response.ok;
  } catch {
    return null;
  }
}

let keyAsked = null;

// Resolves when a key was given; rejects with `error` if it was not. Calls that ask at the same time share one dialog.
function askForKey(why, error) {
  keyAsked ??= new Promise((resolve, reject) => {
    const dialog = byId("key-dialog");
    const done = (given) => {
      keyAsked = null;
      dialog.close();
      if (given) resolve();
      else reject(error);
    };
    byId("key-why").textContent = `${why} This page keeps it in memory only: closing or reloading the page forgets it.`;
    byId("key").value = "";
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      apiKey = byId("key").value.trim();
      byId("key").value = "";
      done(true);
    };
    byId("key-cancel").onclick = () => done(false);
    dialog.oncancel = (event) => {
      event.preventDefault();
      done(false);
    };
    dialog.showModal();
  });
  return keyAsked;
}

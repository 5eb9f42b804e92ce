// What `GET /model` says, of contracts of version 1 and 2, in one shape.

const CHURN_OUTPUTS = [{ name: "churn_probability", kind: "probability" }, { name: "churn", kind: "decision" }];

function serviceOf(body) {
  const contract = body.contract;
  const schema = contract.feature_schema;
  const ttls = new Map(schema.views.map((view) => [view.name, view.ttl_seconds]));
  const outputs = contract.outputs ?? CHURN_OUTPUTS;
  return {
    tag: body.tag,
    hash: body.contract_sha256,
    challenger: body.challenger,
    release: body.release,
    runtime: body.runtime ?? null,
    name: contract.model_name,
    version: contract.model_version,
    entity: (contract.entity ?? "customer").replaceAll("_", " "),
    task: contract.task ?? { kind: "binary", classes: contract.class_names, threshold: contract.threshold },
    outputs: Object.fromEntries(outputs.map((output) => [output.kind, output.name])),
    label: contract.label ?? null,
    featureService: schema.feature_service,
    keys: schema.entity_keys,
    asked: schema.request_inputs.filter((given) => given.filled_by === "request"),
    inputs: contract.inputs.map((input) => ({
      ...input,
      short: input.name.startsWith(`${input.view}__`) ? input.name.slice(input.view.length + 2) : input.name,
      kind: input.kind ?? "numeric",
      nullable: input.on_missing === "keep",
      ttls: [...new Set(input.sources.map((view) => ttls.get(view) ?? null))],
    })),
  };
}

class ValueError extends Error {}

const WHOLE_BITS = { int32: 31, int64: 63 };

// The JSON value of what a person typed, of the contract's type.
function typedValue(dtype, text) {
  const trimmed = text.trim();
  if (dtype === "string") return text;
  if (dtype === "bool") return trimmed === "true";
  if (dtype === "unixtimestamp") {
    if (Number.isNaN(Date.parse(trimmed)) || !/(?:Z|[+-]\d\d:\d\d)$/i.test(trimmed)) {
      throw new ValueError("a time with a zone is needed, like 2026-03-01T12:00:00Z");
    }
    return trimmed;
  }
  return dtype in WHOLE_BITS ? wholeNumber(dtype, trimmed) : decimalNumber(trimmed);
}

function wholeNumber(dtype, text) {
  const limit = 2n ** BigInt(WHOLE_BITS[dtype]);
  if (!/^[-−]?\d{1,20}$/.test(text)) throw new ValueError("a whole number is needed");
  const exact = BigInt(text.replace("−", "-"));
  if (exact < -limit || exact >= limit) throw new ValueError(`a whole number within ${dtype} is needed`);
  if (Number.isSafeInteger(Number(exact))) return Number(exact);
  if (JSON.rawJSON) return JSON.rawJSON(String(exact));
  throw new ValueError("this browser cannot send a number beyond 2^53 exactly");
}

function decimalNumber(text) {
  const number = Number(text.replace("−", "-"));
  if (text === "" || !Number.isFinite(number)) throw new ValueError("a number is needed");
  return number;
}

// A join key as requests take it: whole numbers as decimal text, which is exact for all of int64.
function keyValue(dtype, text) {
  if (dtype === "string") {
    if (text === "") throw new ValueError("a key is needed");
    return text;
  }
  if (!/^(?:0|-?[1-9]\d{0,18})$/.test(text.trim())) throw new ValueError("a whole number is needed");
  return text.trim();
}

// What may replace a looked-up value.
function overrideValue(input, text) {
  if (input.kind === "age") return decimalNumber(text.trim());
  return typedValue(input.dtype, text);
}

function typeWords(dtype) {
  return { string: "text", bool: "true or false", unixtimestamp: "time", float32: "number", float64: "number" }[dtype] ?? `whole number, ${dtype}`;
}

// Contributions as a waterfall: from the base value, feature by feature, to the model's score.

const MOST_BARS = 12;

// answer: of `POST /explain`. Returns the steps, largest first; small ones are one step.
function steps(service, answer) {
  const inputs = new Map(service.inputs.map((input) => [input.name, input]));
  const sorted = [...answer.contributions].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  const own = sorted.length > MOST_BARS ? sorted.slice(0, MOST_BARS - 1) : sorted;
  const rest = sorted.slice(own.length);
  const named = own.map((each) => ({
    label: `${inputs.get(each.feature)?.short ?? each.feature} = ${valueWords(each.value)}`,
    title: each.feature,
    adds: each.contribution,
  }));
  if (rest.length) {
    named.push({ label: `${rest.length} other features`, title: "", adds: rest.reduce((sum, each) => sum + each.contribution, 0) });
  }
  return named;
}

function waterfallPicture(service, answer, width) {
  const parts = steps(service, answer);
  const total = answer.contributions.reduce((sum, each) => sum + each.contribution, answer.base_value);
  const beside = width >= 620;
  const left = beside ? Math.round(width * 0.4) : 0;
  const height = beside ? 26 : 46;
  const right = 84;
  let reached = answer.base_value;
  const ends = [reached, total];
  for (const part of parts) {
    part.from = reached;
    reached += part.adds;
    part.to = reached;
    ends.push(reached);
  }
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const place = (value) => left + (high === low ? 0.5 : (value - low) / (high - low)) * (width - left - right);
  const fits = Math.floor((beside ? left - 12 : width - right) / 7.2);
  const lines = [];
  const line = (label, title, said, bar) => {
    const top = lines.length * height;
    const bottom = beside ? top + 4 : top + 20;
    lines.push(drawn("g", {},
      title ? drawn("title", {}, title) : "",
      drawn("text", { x: 0, y: top + 15 }, shortened(label, fits)),
      bar(bottom),
      drawn("text", { x: width, y: bottom + 12, "text-anchor": "end", class: "number" }, said)));
  };
  const mark = (value) => (y) => drawn("rect", { class: "bar", x: place(value) - 1.5, y, width: 3, height: 15 });
  line("base value", "", numberWords(answer.base_value), mark(answer.base_value));
  for (const part of parts) {
    line(part.label, part.title, signedWords(part.adds), (y) => drawn("rect", {
      class: part.adds < 0 ? "down" : "up",
      x: Math.min(place(part.from), place(part.to)),
      y,
      width: Math.max(Math.abs(place(part.to) - place(part.from)), 1),
      height: 15,
      rx: 2,
    }));
  }
  line("sum", "", numberWords(total), mark(total));
  const said = `Base value ${numberWords(answer.base_value)}; ${parts.map((part) => `${part.label}: ${signedWords(part.adds)}`).join("; ")}; sum ${numberWords(total)}`;
  return picture(width, lines.length * height + 4, said, ...lines);
}

// Draws into its section, and again when the window's width changes.
function showExplanation(service, answer, why) {
  const body = byId("explanation-body");
  byId("explanation").hidden = false;
  explained.drawn = null;
  if (!answer) {
    body.replaceChildren(el("p", { class: "warning" }, `No contributions: ${why}`));
    return;
  }
  const space = answer.space ?? "log-odds";
  const of = answer.explained_class === undefined ? "" : ` of ${answer.explained_class}`;
  const chart = el("div");
  body.replaceChildren(
    el("p", { class: "muted" }, `In ${space}${of}. Base value and contributions add up to the model's score. Orange raises it, blue lowers it.`),
    chart);
  explained.drawn = () => chart.replaceChildren(waterfallPicture(service, answer, Math.max(Math.floor(chart.clientWidth), 240)));
  explained.drawn();
}

const explained = { drawn: null };
new ResizeObserver(() => explained.drawn?.()).observe(document.body);

// Elements without markup text: everything that an answer says is set as text, so it cannot become code.

const SVG = "http://www.w3.org/2000/svg";

function byId(id) {
  return document.getElementById(id);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// A picture that a screen reader reads as one sentence.
function picture(width, height, sentence, ...children) {
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": sentence }, ...children);
}

// A table that stays one for screen readers where a narrow screen shows its rows as cards.
// columns: [heading, class]; rows: lists of cells, each text, an element or a list of them; the first names the row.
function table(caption, columns, rows) {
  return el("table", { class: "cards", role: "table" },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      columns.map(([heading]) => el("th", { role: "columnheader", scope: "col" }, heading)))),
    el("tbody", { role: "rowgroup" }, rows.map((cells) => tableRow(columns, cells))));
}

function tableRow(columns, cells) {
  return el("tr", { role: "row" }, cells.map((cell, at) => {
    const [heading, kind] = columns[at];
    const inside = Array.isArray(cell) ? cell : [cell];
    return at === 0
      ? el("th", { role: "rowheader", scope: "row", class: kind ?? "name" }, ...inside)
      : el("td", { role: "cell", class: kind, "data-label": heading }, el("div", {}, ...inside));
  }));
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.filter(([, fact]) => fact !== null && fact !== undefined && fact !== "")
    .flatMap(([name, fact]) => [el("dt", {}, name), el("dd", {}, fact)]));
  return list;
}

function stateMark(state) {
  return el("span", { class: `state state-${/^[a-z]+$/.test(state) ? state : "other"}` }, state.replaceAll("_", " "));
}

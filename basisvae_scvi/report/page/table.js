// The table of the genes: sorted and filtered as indices, drawn only where it is looked at.

const hasCourses = Boolean(data.basis);

const interval = (low, high, digits) => (gene) =>
  columns[low] && columns[low][gene] !== null ? ` [${show(columns[low][gene], digits)}, ${show(columns[high][gene], digits)}]` : "";

const number = (key, title, width, digits, extra = {}) =>
  ({ key, title, width, number: true, text: (gene) => show(columns[key][gene], digits), ...extra });

const shown = [
  { key: "name", title: "Gene", width: 126 },
  { key: "course", title: "Course", width: 124 },
  { key: "cluster", title: "Cluster", width: 90 },
  { key: "shape", title: "Shape", width: 138, text: (gene) => data.shapes[columns.shape[gene]] ?? "–" },
  number("peak", "Peak", 74, 2),
  number("shift", "Shift δ", columns.shift_lower ? 160 : 100, 2, { range: interval("shift_lower", "shift_upper", 2) }),
  number("scale", "Scale λ", columns.scale_lower ? 150 : 100, 2, { range: interval("scale_lower", "scale_upper", 2) }),
  number("mean", "Mean", 80, 2, { text: (gene) => showMean(columns.mean[gene]) }),
  number("confidence", "Confidence", 118, 3),
  number("stability", "Stability", 98, 2),
].filter(({ key }) =>
  key === "name" || (key === "course" ? hasCourses : columns[key] && columns[key].some((value) => value !== null)));

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

// Values to sort by; names by their rank, which is found once.
const sortValues = {};
function valuesOf(key) {
  if (key !== "name") return columns[key];
  if (!sortValues.name) {
    const order = data.names.map((_, i) => i).sort((a, b) => collator.compare(data.names[a], data.names[b]) || a - b);
    sortValues.name = new Array(nGenes);
    order.forEach((gene, rank) => { sortValues.name[gene] = rank; });
  }
  return sortValues.name;
}

const state = { key: null, descending: false, rows: data.names.map((_, i) => i) };
const lowerNames = data.names.map((name) => name.toLowerCase());

const scroller = document.getElementById("scroller");
const table = document.getElementById("gene-table");
const body = table.tBodies[0];
const control = Object.fromEntries(
  ["search", "cluster", "confidence", "dynamic"].map((id) => [id, document.getElementById(id)]));

function makeHead() {
  const row = table.tHead.rows[0];
  for (const column of shown) {
    table.querySelector("colgroup").append(element("col", { style: `width:${column.width}px` }));
    const cell = element("th", { scope: "col", className: column.number ? "number" : "" });
    if (column.key === "course") {
      cell.append(element("span", { text: column.title, style: "padding:10px;display:block" }));
    } else {
      cell.setAttribute("aria-sort", "none");
      cell.dataset.key = column.key;
      const button = element("button", { text: column.title, type: "button" });
      button.addEventListener("click", () => sortBy(column));
      // Browsers leave buttons out of the heads of further printed pages.
      cell.append(button, element("span", { text: column.title, className: "printed" }));
    }
    row.append(cell);
  }
  table.setAttribute("aria-colcount", shown.length);
}

// The first click sorts numbers from large to small, words from A to Z.
function sortBy(column) {
  state.descending = state.key === column.key ? !state.descending : Boolean(column.number) && column.key !== "peak";
  state.key = column.key;
  for (const cell of table.tHead.rows[0].cells) {
    if (!cell.dataset.key) continue;
    const own = cell.dataset.key === state.key;
    cell.setAttribute("aria-sort", own ? (state.descending ? "descending" : "ascending") : "none");
  }
  sortRows();
  draw({ fromTop: true });
}

// What is missing comes last in either direction; equal values keep the order of the file.
function sortRows() {
  if (state.key === null) return;
  const values = valuesOf(state.key);
  const sign = state.descending ? -1 : 1;
  state.rows.sort((a, b) => {
    const [first, second] = [values[a], values[b]];
    if (first === null || second === null) return (first === null) - (second === null) || a - b;
    return sign * (first - second) || a - b;
  });
}

// Names with commas (or on lines) are looked up as they are; anything else is part of a name.
function nameFilter(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return () => true;
  if (/[,;\n]/.test(wanted)) {
    const names = new Set(wanted.split(/[,;\n]/).map((name) => name.trim()).filter(Boolean));
    return (gene) => names.has(lowerNames[gene]);
  }
  return (gene) => lowerNames[gene].includes(wanted);
}

function applyFilters() {
  const hasName = nameFilter(control.search.value);
  const cluster = control.cluster.value === "" ? null : Number(control.cluster.value);
  const confidence = Number(control.confidence.value);
  const dynamic = control.dynamic.checked;
  state.rows = [];
  for (let gene = 0; gene < nGenes; gene += 1) {
    if (cluster !== null && columns.cluster[gene] !== cluster) continue;
    if (columns.confidence[gene] < confidence) continue;
    if (dynamic && !columns.dynamic[gene]) continue;
    if (hasName(gene)) state.rows.push(gene);
  }
  sortRows();
  const count = state.rows.length.toLocaleString("en");
  document.getElementById("count").textContent =
    state.rows.length === nGenes ? `${count} genes` : `${count} of ${nGenes.toLocaleString("en")} genes`;
  draw({ fromTop: true });
}

function makeRow(position) {
  const gene = state.rows[position];
  const row = element("tr", { "aria-rowindex": position + 2 });
  row.dataset.gene = gene;
  for (const column of shown) row.append(makeCell(column, gene));
  return row;
}

function makeCell(column, gene) {
  if (column.key === "name") {
    const head = element("th", { scope: "row", title: data.names[gene] });
    head.append(element("button", { type: "button", className: "open", text: data.names[gene] }));
    return head;
  }
  const cell = element("td", { className: column.number ? "number" : column.key === "course" ? "course" : "" });
  if (column.key === "course") {
    cell.append(geneSparkline(gene));
  } else if (column.key === "cluster") {
    const cluster = data.clusters[columns.cluster[gene]];
    const chip = element("span", { className: "chip" });
    chip.style.background = cluster.color;
    cell.append(chip, cluster.label);
  } else {
    cell.append(column.text(gene));
    const range = column.range?.(gene);
    if (range) cell.append(element("span", { className: "range", text: range }));
  }
  return cell;
}

const space = (height) => {
  const row = element("tr", { className: "space", "aria-hidden": "true" });
  const cell = element("td", { colspan: shown.length });
  cell.style.height = `${height}px`;
  row.append(cell);
  return row;
};

// As in the style sheet.
const ROW_HEIGHT = 40;
const MOST_OF_WINDOW = 0.7;
const MARGIN = 8;
const PRINTED = 100;
let drawn = "";

// Rows in view and a few around them, between two empty rows that keep the scroll bar true.
function draw({ fromTop = false } = {}) {
  if (fromTop) { scroller.scrollTop = 0; drawn = ""; }
  const n = state.rows.length;
  const first = Math.max(Math.floor(scroller.scrollTop / ROW_HEIGHT) - MARGIN, 0);
  // The frame grows with its rows, up to a share of the window.
  const height = Math.max(scroller.clientHeight, MOST_OF_WINDOW * innerHeight);
  const last = Math.min(first + Math.ceil(height / ROW_HEIGHT) + 2 * MARGIN, n);
  if (drawn === `${first}-${last}`) return;
  drawn = `${first}-${last}`;
  fill(first, last, true);
}

function fill(first, last, spaced) {
  const n = state.rows.length;
  const focused = document.activeElement?.closest?.("#gene-table tbody tr")?.dataset.gene;
  const rows = [];
  for (let position = first; position < last; position += 1) rows.push(makeRow(position));
  if (spaced && first > 0) rows.unshift(space(first * ROW_HEIGHT));
  if (spaced && last < n) rows.push(space((n - last) * ROW_HEIGHT));
  if (!n) {
    const row = element("tr");
    row.append(element("td", { colspan: shown.length, className: "empty", text: "No gene is left: widen the search or reset it." }));
    rows.push(row);
  }
  body.replaceChildren(...rows);
  table.setAttribute("aria-rowcount", n + 1);
  if (focused !== undefined) {
    body.querySelector(`tr[data-gene="${focused}"] button`)?.focus({ preventScroll: true });
  }
}

// On paper nobody scrolls: the first rows, and a word on the others.
function drawForPrint() {
  const n = Math.min(state.rows.length, PRINTED);
  fill(0, n, false);
  document.getElementById("print-note").textContent = n < state.rows.length
    ? `The first ${n} of ${state.rows.length.toLocaleString("en")} genes in the order chosen; the file itself has them all.` : "";
}

function startTable() {
  makeHead();
  data.clusters.forEach((cluster, i) => {
    control.cluster.append(element("option", { value: i, text: `${cluster.label} · ${cluster.shape || "cluster"} (${cluster.n_genes.toLocaleString("en")})` }));
  });
  if (columns.dynamic) document.getElementById("dynamic-label").hidden = false;
  scroller.addEventListener("scroll", () => requestAnimationFrame(() => draw()), { passive: true });
  addEventListener("resize", () => { drawn = ""; draw(); });
  control.search.addEventListener("input", applyFilters);
  for (const name of ["cluster", "confidence", "dynamic"]) control[name].addEventListener("change", applyFilters);
  const form = control.search.form;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(applyFilters));
  addEventListener("beforeprint", drawForPrint);
  addEventListener("afterprint", () => { drawn = ""; draw(); });
  draw();
}

"use strict";
// The data of the report, and the courses that follow from them.

const data = JSON.parse(document.getElementById("report-data").textContent);
const columns = data.columns;
const nGenes = data.names.length;
const observed = data.observed ?? null;
const steps = observed && Uint8Array.from(atob(observed.steps), (c) => c.charCodeAt(0));

const svgElement = (name, attributes = {}) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const element = (name, { text, className, ...attributes } = {}) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// A number for people; a missing one is a dash.
function show(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

const showMean = (value) =>
  value === null || value === undefined ? "–" : value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)));

// Basis function of a cluster at z, by straight lines through the grid.
function basisAt(cluster, z) {
  const nodes = data.basis[cluster];
  const [low, high] = data.grid;
  const place = Math.min(Math.max((z - low) / (high - low), 0), 1) * (nodes.length - 1);
  const left = Math.min(Math.floor(place), nodes.length - 2);
  return nodes[left] + (place - left) * (nodes[left + 1] - nodes[left]);
}

// λ b(z + δ) of a gene. Dropout takes counts away: there the course is lowered to the level of
// the observed means.
function courseOf(gene) {
  const cluster = columns.cluster[gene];
  const shift = columns.shift[gene] ?? 0;
  const scale = columns.scale[gene] ?? 1;
  const course = (z) => scale * basisAt(cluster, z + shift);
  if (!observed || data.likelihood !== "zinb") return course;
  let level = 0;
  observed.z.forEach((z, bin) => { level += observed.weight[bin] * course(z); });
  const factor = level > 1 ? 1 / level : 1;
  return (z) => factor * course(z);
}

function observedOf(gene) {
  if (!observed) return [];
  const n = observed.z.length;
  return observed.z.map((z, bin) => [z, (steps[gene * n + bin] / 255) * observed.largest[gene]]);
}

function pointsOf(course, n) {
  const [low, high] = data.z;
  return Array.from({ length: n }, (_, i) => {
    const z = low + ((high - low) * i) / (n - 1);
    return [z, course(z)];
  });
}

// A line and dots in a box; returns where a point of the data lies in it.
function drawInto(svg, line, dots, color, box, radius) {
  const values = [...line, ...dots].map((point) => point[1]);
  const low = Math.min(0, ...values);
  const high = Math.max(...values, low + 1e-9);
  const [zLow, zHigh] = data.z;
  const x = (z) => box.left + ((z - zLow) / (zHigh - zLow || 1)) * box.width;
  const y = (value) => box.top + (1 - (value - low) / (high - low)) * box.height;
  const inside = (z) => Math.min(Math.max(z, zLow), zHigh);
  for (const [z, value] of dots) {
    svg.append(svgElement("circle", { cx: x(inside(z)).toFixed(1), cy: y(value).toFixed(1), r: radius, fill: color, "fill-opacity": 0.45 }));
  }
  const path = line.map(([z, value]) => `${x(z).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  svg.append(svgElement("polyline", { points: path, fill: "none", stroke: color, "stroke-width": 2, "stroke-linejoin": "round" }));
  return { x, y, low, high };
}

function sparkline(line, dots, color) {
  const svg = svgElement("svg", { width: 110, height: 34, viewBox: "0 0 110 34", "aria-hidden": "true" });
  drawInto(svg, line, dots, color, { left: 3, top: 3, width: 104, height: 28 }, 1.6);
  return svg;
}

const geneSparkline = (gene) =>
  sparkline(pointsOf(courseOf(gene), 40), observedOf(gene), data.clusters[columns.cluster[gene]].color);

const clusterSparkline = (cluster) =>
  sparkline(pointsOf((z) => basisAt(cluster, z), 60), [], data.clusters[cluster].color);

// Round numbers for the marks of an axis.
function marks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
}

function geneChart(gene) {
  const width = 640;
  const height = 300;
  const box = { left: 62, top: 12, width: width - 78, height: height - 62 };
  const cluster = data.clusters[columns.cluster[gene]];
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `Expression of ${data.names[gene]} along z: fitted course${observed ? " and observed means" : ""}.`);
  const frame = svgElement("g", { stroke: "#dcdbe3" });
  const text = svgElement("g", { fill: "#55535f", "font-size": 14 });
  svg.append(frame, text);
  const { x, y, low, high } = drawInto(svg, pointsOf(courseOf(gene), 200), observedOf(gene), cluster.color, box, 4);
  const label = (string, attributes) => {
    const made = svgElement("text", attributes);
    made.textContent = string;
    text.append(made);
  };
  for (const value of marks(low, high, 5)) {
    frame.append(svgElement("line", { x1: box.left, x2: box.left + box.width, y1: y(value), y2: y(value) }));
    label(String(value).replace("-", "−"), { x: box.left - 8, y: y(value) + 5, "text-anchor": "end" });
  }
  for (const value of marks(data.z[0], data.z[1], 7)) {
    label(String(value).replace("-", "−"), { x: x(value), y: box.top + box.height + 20, "text-anchor": "middle" });
  }
  label("z", { x: box.left + box.width / 2, y: height - 8, "text-anchor": "middle" });
  const middle = box.top + box.height / 2;
  const unit = observed ? "expression / gene's mean" : "relative expression";
  label(unit, { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` });
  return svg;
}

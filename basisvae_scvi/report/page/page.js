// What is around the table: courses of clusters, the card of a gene, downloads.

const card = document.getElementById("card");
let cardPosition = 0;

function openCard(position) {
  cardPosition = position;
  const gene = state.rows[position];
  document.getElementById("card-title").textContent = data.names[gene];
  document.getElementById("card-chart").replaceChildren(...(hasCourses ? [geneChart(gene)] : []));
  document.getElementById("card-numbers").replaceChildren(...cardNumbers(gene));
  document.getElementById("card-before").disabled = position === 0;
  document.getElementById("card-after").disabled = position === state.rows.length - 1;
  if (!card.open) card.showModal();
}

function cardNumbers(gene) {
  const cluster = data.clusters[columns.cluster[gene]];
  const rows = [["Cluster", `${cluster.label}${cluster.shape ? ` · ${cluster.shape}` : ""}`]];
  for (const column of shown) {
    if (!column.number) continue;
    rows.push([column.title, column.text(gene) + (column.range?.(gene) ?? "")]);
  }
  const flags = { identified: "Shift identified", dynamic: "Changes (FDR 5 %)" };
  for (const [key, title] of Object.entries(flags)) {
    if (columns[key]) rows.push([title, ["no", "yes"][columns[key][gene]] ?? "–"]);
  }
  return rows.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", { text: name }), element("dd", { text: value }));
    return pair;
  });
}

function startCard() {
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-gene]");
    if (row) openCard(Number(row.getAttribute("aria-rowindex")) - 2);
  });
  document.getElementById("card-close").addEventListener("click", () => card.close());
  document.getElementById("card-before").addEventListener("click", () => openCard(cardPosition - 1));
  document.getElementById("card-after").addEventListener("click", () => openCard(cardPosition + 1));
  card.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && state.rows[cardPosition + step] !== undefined) openCard(cardPosition + step);
  });
  card.addEventListener("click", (event) => { if (event.target === card) card.close(); });
}

// CSV as in RFC 4180; a missing value is an empty field.
const quoted = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function download(name, head, rows) {
  const text = [head, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  const link = element("a", { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function downloadGenes() {
  const rest = Object.keys(columns).filter((name) => name !== "cluster" && name !== "shape");
  const rows = state.rows.map((gene) => [
    data.names[gene], data.clusters[columns.cluster[gene]].label, data.shapes[columns.shape[gene]],
    ...rest.map((name) => columns[name][gene]),
  ]);
  download("genes.csv", ["gene", "cluster", "shape", ...rest], rows);
}

function downloadClusters() {
  const names = ["label", "n_genes", "shape", "peak", "stability", "color", "top_genes"];
  download("clusters.csv", ["cluster", ...names.slice(1)], data.clusters.map((cluster) => names.map((name) => cluster[name])));
}

function startClusters() {
  if (hasCourses) {
    for (const cell of document.querySelectorAll("td.course[data-cluster]")) {
      cell.append(clusterSparkline(Number(cell.dataset.cluster)));
    }
  }
  for (const button of document.querySelectorAll("button.show-cluster")) {
    button.addEventListener("click", () => {
      control.search.form.reset();
      control.cluster.value = button.dataset.cluster;
      applyFilters();
      document.getElementById("genes").scrollIntoView();
      scroller.focus({ preventScroll: true });
    });
  }
}

startTable();
startCard();
startClusters();
document.getElementById("download-genes").addEventListener("click", downloadGenes);
document.getElementById("download-clusters").addEventListener("click", downloadClusters);

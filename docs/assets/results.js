// Tables of results: sorted by a click on a heading, and reduced to the rows that hold all words of the filter.

const number = (text) => Number.parseFloat(text.replaceAll(",", ""));

function sort(table, column, heading) {
  const text = Number.isNaN(number(table.tBodies[0].rows[0].cells[column].textContent));
  const descending = heading.getAttribute("aria-sort") ? heading.getAttribute("aria-sort") === "ascending" : !text;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const order = (a, b) => {
    const [first, second] = [a, b].map((row) => row.cells[column].textContent.trim());
    const apart = number(first) - number(second);
    return Number.isNaN(apart) ? second.localeCompare(first) : -apart;
  };
  const rows = [...table.tBodies[0].rows].sort(order);
  table.tBodies[0].append(...(descending ? rows : rows.reverse()));
}

function enhance(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(table, column, heading));
    heading.replaceChildren(button);
  });
  const filter = document.createElement("input");
  Object.assign(filter, { type: "search", className: "filter", placeholder: "Only rows with, e.g. lenet c4" });
  filter.setAttribute("aria-label", "Only rows with");
  const count = document.createElement("output");
  count.className = "filter-count";
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  });
  (table.closest(".md-typeset__scrollwrap") ?? table).before(filter, count);
}

for (const table of document.querySelectorAll("article table")) {
  const headings = [...(table.tHead?.rows[0].cells ?? [])].map((one) => one.textContent);
  if (headings.includes("accuracy %")) enhance(table);
}

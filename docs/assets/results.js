// Tables of results: sorted by a click on a heading, and reduced to the rows that hold a word.

const number = (text) => Number.parseFloat(text.replaceAll(",", ""));

function sort(table, column, heading) {
  const descending = heading.getAttribute("aria-sort") !== "descending";
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
  Object.assign(filter, { type: "search", className: "filter", placeholder: "Only rows with …" });
  filter.setAttribute("aria-label", "Only rows with");
  filter.addEventListener("input", () => {
    for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
  });
  (table.closest(".md-typeset__scrollwrap") ?? table).before(filter);
}

for (const table of document.querySelectorAll("article table")) {
  const headings = [...(table.tHead?.rows[0].cells ?? [])].map((one) => one.textContent);
  if (headings.includes("accuracy %")) enhance(table);
}

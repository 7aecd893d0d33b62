"use strict";
// Sorts the table by the column whose head is pressed. Without this script its rows stay in the order of the command.
const table = document.querySelector("table.sortable");
const heads = [...table.tHead.rows[0].cells];

function keyOf(row, column, numeric) {
  const key = row.cells[column].dataset.key;
  return numeric ? (key === "" ? -Infinity : Number(key)) : key;
}

function sortBy(head, column) {
  const numeric = head.dataset.sort === "number";
  const before = head.getAttribute("aria-sort");
  // Numbers begin with the highest, words with the first of the alphabet.
  const descending = before ? before === "ascending" : numeric;
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column, numeric), row]);
  rows.sort(([a], [b]) => (descending ? -1 : 1) * (numeric ? a - b || 0 : a.localeCompare(b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

heads.forEach((head, column) => {
  if (!head.dataset.sort) return;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortBy(head, column));
  head.append(button);
});

// A link to the details of an image opens them, in browsers that do not do so by themselves.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) {
    target.closest("details")?.setAttribute("open", "");
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();

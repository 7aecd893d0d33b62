"use strict";
// Sorts the table by the column whose head is pressed, and shows the rows that are asked for. Without this script it
// has all rows, in the order of the command.
const table = document.querySelector("table.sortable");
const heads = [...table.tHead.rows[0].cells];
const allRows = [...table.tBodies[0].rows];
const [VERDICT, FILE, STABLE] = [1, 3, 4]; // columns

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

const filter = document.createElement("p");
filter.className = "filter";
const count = document.createElement("output");

function addInput(attributes, words) {
  const input = Object.assign(document.createElement("input"), attributes);
  const label = document.createElement("label");
  label.append(...(input.type === "checkbox" ? [input, ` ${words}`] : [`${words} `, input]));
  filter.append(label);
  return input;
}

function addBox(words, column, key, checked) {
  const number = allRows.filter((row) => row.cells[column].dataset.key === key).length;
  return number ? addInput({ type: "checkbox", checked }, `${words} (${number.toLocaleString("en")})`) : null;
}

const boxes = ["generated", "uncertain", "real", "unreadable"].map((word) => [word, addBox(word, VERDICT, word, true)]);
const unstable = addBox("only unstable", STABLE, "1", false);
const part = addInput({ type: "search", placeholder: "part of its name" }, "file");

function showRows() {
  const left = new Set(boxes.filter(([, box]) => box?.checked).map(([word]) => word));
  const wanted = part.value.trim().toLowerCase();
  for (const row of allRows) {
    const [verdict, stable] = [VERDICT, STABLE].map((column) => row.cells[column].dataset.key);
    const hasPart = row.cells[FILE].textContent.toLowerCase().includes(wanted);
    row.hidden = !(left.has(verdict) && hasPart && (stable === "1" || !unstable?.checked));
  }
  const [shown, all] = [allRows.filter((row) => !row.hidden), allRows].map((rows) => rows.length.toLocaleString("en"));
  count.value = shown === all ? "" : `${shown} of ${all} images`;
}

filter.append(count);
filter.addEventListener("input", showRows);
table.closest(".scroll").before(filter);
showRows(); // some browsers keep what was ticked when a page is loaded again

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

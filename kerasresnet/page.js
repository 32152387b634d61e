"use strict";
(() => {
  const held = JSON.parse(document.getElementById("photos").textContent);
  const panel = document.getElementById("photos-of-cell");

  const made = (tag, text) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const figure = ([label, called, share, source, picture]) => {
    const node = made("figure");
    if (picture) {
      const image = made("img");
      image.src = picture;
      image.alt = `${held.names[label]}, called ${held.names[called]}`;
      node.append(image);
    }
    const sure = `${Math.round(100 * share)} %`;
    node.append(made("figcaption", `${sure} ${source}`));
    return node;
  };

  const show = (button) => {
    const label = Number(button.dataset.label);
    const called = Number(button.dataset.called);
    for (const other of document.querySelectorAll("button[aria-pressed=true]")) {
      other.setAttribute("aria-pressed", "false");
    }
    button.setAttribute("aria-pressed", "true");
    const found = held.photos.filter((photo) => photo[0] === label && photo[1] === called);
    const images = `${found.length} ${found.length === 1 ? "image" : "images"}`;
    const told = label === called ? "called so" : `called ${held.names[called]}`;
    const photos = made("div");
    photos.className = "photos small";
    photos.append(...found.map(figure));
    const parts = [made("h3", `${images} of ${held.names[label]}, ${told}`)];
    const absent = found.filter((photo) => !photo[4]).length;
    if (absent) parts.push(made("p", `${absent} without a picture.`));
    panel.replaceChildren(...parts, photos);
    panel.scrollIntoView({ block: "nearest" });
  };

  for (const button of document.querySelectorAll("button[data-label]")) {
    button.addEventListener("click", () => show(button));
  }

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };

  const compare = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
    // What is unknown stays at the end, whichever way the table is sorted.
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a - b;
  };

  const sort = (table, heading) => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const column = heading.cellIndex;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      const unknown = Number.isNaN(x) || Number.isNaN(y);
      return falling && !unknown ? compare(y, x) : compare(x, y);
    });
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = made("button", heading.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(table, heading));
      heading.replaceChildren(button);
    }
  }
})();

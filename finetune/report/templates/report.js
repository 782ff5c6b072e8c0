"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tiles = data.tiles;
  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const named = (places) => places.map((place) => data.classes[place]).join(", ") || "nothing";
  function picture(place) {
    const shown = make("span", "little");
    shown.setAttribute("role", "img");
    shown.setAttribute("aria-label", tiles.keys[place]);
    const left = tiles.side * (place % tiles.per_row), top = tiles.side * Math.floor(place / tiles.per_row);
    shown.style.backgroundPosition = `-${left}px -${top}px`;
    return shown;
  }
  function sure(place) {
    const shown = make("span", "quiet", tiles.probabilities[place].toFixed(2));
    shown.dataset.source = `predictions/${tiles.part}.npz:${tiles.rows[place]}.probability`;
    return shown;
  }

  function matrix(table) {
    const chosen = document.getElementById("chosen");
    const rows = Array.from(table.tBodies[0].rows, (row) => Array.from(row.cells).slice(1));
    const images = new Map();
    tiles.keys.forEach((_, place) => {
      const cell = `${tiles.labels[place][0]} ${tiles.said[place][0]}`;
      images.set(cell, [...(images.get(cell) || []), place]);
    });
    let current = null;
    function show(row, column) {
      const cell = rows[row][column];
      table.querySelectorAll("[aria-pressed=true]").forEach((one) => one.setAttribute("aria-pressed", "false"));
      cell.setAttribute("aria-pressed", "true");
      const found = images.get(`${row} ${column}`) || [];
      const said = make("p");
      const count = make("b", "", cell.textContent);
      count.dataset.source = cell.dataset.source;
      said.append(make("bdi", "name", data.classes[row]), row === column ? " called so" : " called ");
      if (row !== column) said.append(make("bdi", "name", data.classes[column]));
      said.append(": ", count);
      if (found.length < Number(cell.textContent)) said.append("; not all of them have a small picture");
      const list = make("ul");
      list.tabIndex = 0; // it scrolls where there are many
      found.sort((a, b) => tiles.probabilities[b] - tiles.probabilities[a]);
      for (const place of found.slice(0, data.most)) {
        const item = make("li");
        const key = make("bdi", "", tiles.keys[place]);
        key.dir = "ltr";
        key.title = tiles.keys[place];
        const line = make("span", "file");
        line.append(key);
        item.append(picture(place), sure(place), line);
        list.append(item);
      }
      chosen.replaceChildren(said, list);
      if (found.length > data.most) chosen.append(make("p", "note", "The surest are shown; there are more."));
      chosen.hidden = false;
    }
    function go(row, column) {
      if (current) current.tabIndex = -1;
      current = rows[row][column];
      current.tabIndex = 0;
    }
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    rows.forEach((cells, row) => cells.forEach((cell, column) => {
      if (!cell.textContent) return;
      cell.tabIndex = -1;
      cell.setAttribute("role", "button");
      cell.setAttribute("aria-pressed", "false");
      cell.setAttribute("aria-label", `${cell.textContent}: ${data.classes[row]} called ${data.classes[column]}`);
      cell.addEventListener("click", () => { go(row, column); show(row, column); });
      cell.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          show(row, column);
        } else if (event.key in steps) {
          event.preventDefault();
          const [down, right] = steps[event.key];
          let [y, x] = [row + down, column + right];
          while (rows[y] && rows[y][x] && !rows[y][x].textContent) [y, x] = [y + down, x + right];
          if (rows[y] && rows[y][x]) {
            go(y, x);
            current.focus();
          }
        }
      });
      if (!current) go(row, column);
    }));
  }

  function atlas(plane) {
    const points = data.points;
    const only = document.getElementById("only");
    const seen = make("div", "seen");
    const ring = make("i", "ring");
    seen.hidden = ring.hidden = true;
    seen.setAttribute("role", "status");
    plane.append(ring, seen);
    plane.tabIndex = 0;
    plane.setAttribute("role", "application");
    plane.setAttribute("aria-label", "Map of images: the arrow keys step from image to image");
    let at = -1;
    const places = () => (document.getElementById("map-tsne")?.checked ? points.tsne : points.pca);
    const wanted = (point) => !only.value || points.labels[point].includes(Number(only.value));
    function show(point) {
      at = point;
      seen.hidden = ring.hidden = point < 0;
      if (point < 0) return;
      const [x, y] = places()[point];
      ring.style.left = `${x}%`;
      ring.style.top = `${y}%`;
      const text = make("span");
      const is = named(points.labels[point]), said = named(points.said[point]);
      text.append(make("bdi", "name", is), is === said ? "answered right" : "answered ");
      if (is !== said) text.append(make("bdi", "name", said));
      const tile = points.tiles[point];
      if (tile >= 0) {
        text.append(" ", sure(tile), make("bdi", "quiet", tiles.keys[tile]));
        seen.replaceChildren(picture(tile), text);
      } else seen.replaceChildren(text);
      seen.style.left = x < 50 ? `${x + 2}%` : "auto";
      seen.style.right = x < 50 ? "auto" : `${102 - x}%`;
      seen.style.top = y < 50 ? `${y + 2}%` : "auto";
      seen.style.bottom = y < 50 ? "auto" : `${102 - y}%`;
    }
    function nearest(x, y, within) {
      let found = -1, best = within * within;
      places().forEach(([a, b], point) => {
        const away = (a - x) ** 2 + (b - y) ** 2;
        if (away <= best && wanted(point)) [found, best] = [point, away];
      });
      return found;
    }
    function pointed(event) {
      const box = plane.getBoundingClientRect();
      show(nearest(100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height, 4));
    }
    plane.addEventListener("pointermove", pointed);
    plane.addEventListener("pointerdown", pointed);
    plane.addEventListener("pointerleave", () => show(-1));
    plane.addEventListener("blur", () => show(-1));
    plane.addEventListener("focus", () => { if (at < 0) show(nearest(50, 50, 200)); });
    const towards = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    plane.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return show(-1);
      if (!(event.key in towards)) return;
      event.preventDefault();
      if (at < 0) return show(nearest(50, 50, 200));
      const [right, down] = towards[event.key], [x, y] = places()[at];
      let found = -1, best = Infinity;
      places().forEach(([a, b], point) => {
        const ahead = (a - x) * right + (b - y) * down, aside = Math.abs((a - x) * down) + Math.abs((b - y) * right);
        const cost = ahead + 2 * aside;
        if (point !== at && wanted(point) && ahead > 0 && cost < best) [found, best] = [point, cost];
      });
      if (found >= 0) show(found);
    });
    function pick() {
      plane.classList.toggle("dimmed", Boolean(only.value));
      plane.querySelectorAll(".picked").forEach((one) => one.remove());
      if (only.value) {
        for (const [name, list] of [["pca", points.pca], ["tsne", points.tsne]]) {
          const drawing = plane.querySelector(`.map-${name}`);
          if (!drawing) continue;
          const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
          path.setAttribute("class", "picked");
          path.setAttribute("d", list.map(([a, b], point) => (wanted(point) ? `M${a} ${b}h0` : "")).join(""));
          drawing.append(path);
        }
      }
      show(-1);
    }
    only.addEventListener("change", pick);
    document.querySelectorAll("#atlas input").forEach((one) => one.addEventListener("change", () => show(-1)));
  }

  const table = document.getElementById("confusion-matrix");
  const plane = document.getElementById("plane");
  if (table && tiles) matrix(table);
  if (plane && data.points) atlas(plane);
  document.querySelectorAll(".scripted").forEach((one) => { one.hidden = false; });
})();

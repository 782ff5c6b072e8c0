"use strict";
(() => {
  const list = document.getElementById("findings");
  const items = Array.from(list.children);
  const [severity, kind, order, words, shown] = ["severity", "kind", "order", "words", "shown"].map((id) => document.getElementById(id));
  const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const rank = {
    worst: (item) => Number(item.dataset.place),
    score: (item) => -Number(item.dataset.score),
    images: (item) => -Number(item.dataset.images),
  };
  function update() {
    const wanted = words.value.trim().toLowerCase();
    let count = 0;
    for (const item of items) {
      item.hidden = Boolean(
        (severity.value && item.dataset.severity !== severity.value) ||
        (kind.value && item.dataset.kind !== kind.value) ||
        (wanted && !texts.get(item).includes(wanted))
      );
      count += item.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${items.length} shown`;
  }
  function sort() {
    const by = rank[order.value];
    items.sort((a, b) => by(a) - by(b) || Number(a.dataset.place) - Number(b.dataset.place));
    list.append(...items);
  }
  order.addEventListener("change", sort);
  for (const control of [severity, kind]) control.addEventListener("change", update);
  words.addEventListener("input", update);
  document.getElementById("controls").hidden = false;
  update();
})();

"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const TITLES = { label: "Suspected label", duplicates: "Duplicates", outlier: "Outlier", unreadable: "Cannot be read" };
  const KINDS = { label: ["label", "labels"], duplicates: ["group of copies", "groups of copies"], outlier: ["outlier", "outliers"], unreadable: ["unreadable", "unreadable"] };
  const KEYED = 9;
  let summary, item = null, number = 0, chosen = 0, drafts = new Map(), ended = false;
  let work = Promise.resolve();  // one thing after the other, however fast keys are pressed

  function make(tag, words, kind) {
    const made = document.createElement(tag);
    if (words !== undefined) made.textContent = words;
    if (kind) made.className = kind;
    return made;
  }
  function queue(step) {
    work = work.then(async () => {
      if (ended) return;
      at("fault").hidden = true;
      await step();
    }).catch((error) => {
      at("fault").textContent = error.message;
      at("fault").hidden = false;
    });
  }
  async function ask(path, body) {
    let answer;
    try {
      answer = await fetch(path, body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    } catch {
      throw new Error("finetune does not answer: it has ended, or was stopped. What was decided before is in the file.");
    }
    if (answer.ok) return answer.json();
    const said = await answer.json().catch(() => ({}));
    throw new Error(typeof said.message === "string" ? said.message : `refused (${answer.status})`);
  }

  const named = (labels) => labels.length ? labels.map((place) => summary.classes[place]).join(", ") : "no label";
  function worded(verdict, image) {
    if (verdict.action === "exclude") return "leave out";
    return verdict.action === "keep" ? `keep ${named(image.labels)}` : named(verdict.labels);
  }
  function recorded(verdict) {
    return { exclude: "left out", keep: "kept", relabel: `now ${named(verdict.labels)}` }[verdict.action];
  }
  const draft = (place) => drafts.get(place) ?? current(item.images[place]);
  const current = (image) => image.made && image.made.action === "relabel" ? image.made.labels : image.labels;
  const undecided = () => item.images.map((image, place) => place).filter((place) => !item.images[place].made);

  function progress(now) {
    Object.assign(summary, now);
    at("bar").max = Math.max(1, summary.total);
    at("bar").value = summary.decided;
    at("far").textContent = `${summary.decided} of ${summary.total} decided`;
    const made = summary.relabel + summary.exclude;
    at("file").textContent = made ? `${made} ${made === 1 ? "correction" : "corrections"} in ${summary.output}: ${summary.relabel} relabelled, ${summary.exclude} left out` : `nothing is corrected yet; what is goes to ${summary.output}`;
  }

  async function show(next, { quiet = false } = {}) {
    number = Math.max(0, Math.min(next, summary.total));
    drafts = new Map();
    chosen = 0;
    const over = number === summary.total;
    at("main").hidden = over;
    at("over").hidden = !over;
    if (over) {
      item = null;
      at("over-title").textContent = summary.decided === summary.total ? "All of it is decided" : `The end; ${summary.total - summary.decided} are not decided`;
      at("over-text").textContent = summary.advice;
      if (!quiet) at("over-title").focus();
      return;
    }
    item = await ask(`item/${number}`);
    chosen = Math.max(0, item.images.findIndex((image) => !image.made && image.suggested.action !== "keep"));
    draw();
    if (!quiet) at("title").focus({ preventScroll: false });
  }

  function turn(next) {
    at("status").textContent = "";  // it spoke of what was decided before
    return show(next);
  }

  function draw() {
    at("title").textContent = `${TITLES[item.kind]}, ${number + 1} of ${summary.total}`;
    at("why").firstChild.textContent = item.why;
    const list = at("images");
    list.className = item.images.length > 1 ? "several" : "";
    list.replaceChildren(...item.images.map(figure));
    for (const tab of at("kinds").children) {
      const first = Number(tab.dataset.first);
      tab.setAttribute("aria-current", String(number >= first && number < first + Number(tab.dataset.count)));
    }
    at("accept").lastElementChild.textContent = offered();
    at("back").disabled = number === 0;
    classes();
  }

  function offered() {
    if (drafts.size) return `Record ${[...drafts.values()].map(named).join("; ")}`;
    const open = undecided();
    if (!open.length) return "Go on";
    if (item.images.length === 1) return { keep: "Keep as it is", exclude: "Leave out", relabel: `Accept ${named(item.images[0].suggested.labels)}` }[item.images[0].suggested.action];
    const out = open.filter((place) => item.images[place].suggested.action === "exclude").length;
    return out ? `Accept: leave ${out} out` : open.length < item.images.length ? "Keep the rest" : "Keep all";
  }

  function figure(image, place) {
    const line = make("li"), several = item.images.length > 1;
    const picture = make(several ? "button" : "div", undefined, "picture");
    if (several) {
      picture.type = "button";
      picture.setAttribute("aria-pressed", String(place === chosen));
      picture.setAttribute("aria-label", `choose image ${place + 1}, ${image.key}`);
      picture.addEventListener("click", () => queue(() => choose(place)));
    }
    if (image.readable) {
      const shown = make("img");
      shown.alt = `image ${place + 1} of ${item.images.length}, labelled ${named(image.labels)}`;
      shown.src = `image/${number}/${place}`;
      shown.addEventListener("error", () => shown.replaceWith(make("span", "cannot be shown", "none")));
      picture.append(shown);
    } else picture.append(make("span", "cannot be shown", "none"));
    const about = make("div", undefined, "about");
    const given = make("div", "given ");
    given.append(make("b", named(image.labels)));
    const wanted = image.suggested.action === "keep" && item.kind !== "duplicates" ? null : make("div", "suggested ");
    if (wanted) wanted.append(make("span", worded(image.suggested, image), `wanted ${image.suggested.action}`));
    about.append(given, ...(wanted ? [wanted] : []));
    if (image.made) about.append(make("span", `decided: ${recorded(image.made)}`, `made ${image.made.action}`));
    const file = make("small");
    file.append(make("bdi", image.key), image.part ? `, in ${image.part}` : "");
    about.append(file);
    line.append(picture, about);
    return line;
  }

  function keyed() {
    const all = summary.classes.map((_, place) => place);
    return all.length <= KEYED ? all : item.images[chosen].likely.slice(0, KEYED);
  }
  function classButton(place, key) {
    const button = make("button");
    button.type = "button";
    if (key) {
      button.append(make("kbd", key), " ");
      button.setAttribute("aria-keyshortcuts", key);
    }
    button.append(make("bdi", summary.classes[place]));
    button.setAttribute("aria-pressed", String(draft(chosen).includes(place)));
    button.addEventListener("click", () => queue(() => label(place)));
    return button;
  }
  function classes() {
    const what = summary.several ? "Labels; each key puts one on or takes it off" : "Another class";
    at("classes-title").textContent = item.images.length > 1 ? `${what}, of image ${chosen + 1}` : what;
    at("classes").replaceChildren(...keyed().map((place, index) => classButton(place, String(index + 1))));
    at("searching").hidden = summary.classes.length <= KEYED;
    at("search").value = "";
    search();
  }
  function matches() {
    const wanted = at("search").value.trim().toLowerCase();
    return wanted ? summary.classes.map((_, place) => place).filter((place) => summary.classes[place].toLowerCase().includes(wanted)).slice(0, 20) : [];
  }
  function search() {
    const found = matches().map((place) => classButton(place));
    at("found").replaceChildren(...(found.length || !at("search").value.trim() ? found : [make("span", "no class has these letters")]));
  }

  function choose(place) {
    chosen = place;
    draw();
    const picture = at("images").children[place].firstElementChild;
    if (picture.tagName === "BUTTON") picture.focus();
    at("status").textContent = `image ${place + 1}`;
  }
  async function record(choices, { stay = false } = {}) {
    const before = item;
    if (choices.length) {
      const done = await ask(`item/${number}/decide`, { choices });
      progress(done.progress);
      item = done.item;
      const said = choices.map((one) => `${before.images.length > 1 ? `image ${one.image + 1} ` : ""}${recorded(item.images[one.image].made)}`);
      at("status").textContent = said.slice(0, 3).join(", ") + (said.length > 3 ? " …" : "");
    }
    if (!stay) return show(number + 1);
    draw();
    at("title").focus();
  }
  const wish = (place) => ({ image: place, ...(drafts.has(place) ? { action: "relabel", labels: drafts.get(place) } : item.images[place].suggested) });
  function accept(all) {
    const open = undecided().filter((place) => !drafts.has(place));
    const places = open.length || drafts.size || !all ? [...drafts.keys(), ...open] : item.images.map((_, place) => place);
    return record(places.map(wish));
  }
  function keep() {
    const open = undecided();
    return record((open.length ? open : item.images.map((_, place) => place)).map((place) => ({ image: place, action: "keep" })));
  }
  function exclude() {
    const several = item.images.length > 1, made = item.images[chosen].made;
    drafts.delete(chosen);
    const action = several && made && made.action === "exclude" ? "keep" : "exclude";
    return record([{ image: chosen, action }], { stay: several });
  }
  function label(place) {
    if (!summary.several) return record([{ image: chosen, action: "relabel", labels: [place] }], { stay: item.images.length > 1 });
    const now = draft(chosen);
    drafts.set(chosen, now.includes(place) ? now.filter((one) => one !== place) : [...now, place].sort((a, b) => a - b));
    draw();
    at("title").focus();
    at("status").textContent = `${named(drafts.get(chosen))}; Enter records it`;
  }
  async function undo() {
    const done = await ask("undo", {});
    progress(done.progress);
    if (done.number !== null) await show(done.number);
    at("status").textContent = done.number === null ? "nothing to undo" : "undone";
  }
  async function end() {
    progress(await ask("end", {}));
    await finished();
  }
  function finished() {
    ended = true;
    number = summary.total;
    for (const one of ["main", "end", "over-back", "kinds", "status", "keyboard", "legend"]) at(one).hidden = true;
    at("over").hidden = false;
    at("over-title").textContent = "Finished; this page can be closed";
    at("over-text").textContent = summary.advice;
    at("over-title").focus();
  }

  const actions = {
    Enter: () => accept(false), a: () => accept(true), k: keep, x: exclude, u: undo,
    ArrowLeft: () => turn(number - 1), ArrowRight: () => turn(number + 1),
    ArrowUp: () => item && choose(Math.max(0, chosen - 1)), ArrowDown: () => item && choose(Math.min(item.images.length - 1, chosen + 1)),
  };
  const anywhere = ["u", "ArrowLeft"];  // also where no item is shown
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !at("keys").checked || !summary) return;
    const target = event.target;
    if (target === at("search")) {
      if (event.key === "Escape") at("title").focus();
      else if (event.key === "Enter" && matches().length) queue(() => label(matches()[0]));
      else return;
      event.preventDefault();
      return;
    }
    if (target instanceof HTMLInputElement || (event.key === "Enter" && target instanceof HTMLButtonElement && !target.classList.contains("picture"))) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "/" && item && !at("searching").hidden) at("search").focus();
    else if (Object.hasOwn(actions, key)) queue(() => item || anywhere.includes(key) ? actions[key]() : undefined);
    else if (/^[1-9]$/.test(key)) queue(() => item && Number(key) <= keyed().length ? label(keyed()[Number(key) - 1]) : undefined);
    else return;
    event.preventDefault();
  });
  for (const [id, action] of Object.entries({ accept: () => accept(false), keep, exclude, undo, back: actions.ArrowLeft, on: actions.ArrowRight, end, "over-back": actions.ArrowLeft })) {
    at(id).addEventListener("click", () => queue(action));
  }
  at("search").addEventListener("input", search);

  queue(async () => {
    summary = await ask("summary");
    document.title = `${summary.name} · finetune review`;
    at("name").textContent = summary.name;
    at("kinds").replaceChildren(...summary.kinds.map(({ kind, first, count }) => {
      const tab = make("button", `${count} ${KINDS[kind][count === 1 ? 0 : 1]}`);
      tab.type = "button";
      Object.assign(tab.dataset, { first, count });
      tab.addEventListener("click", () => queue(() => turn(first)));
      return tab;
    }));
    progress(summary);
    await show(summary.open === summary.total ? 0 : summary.open, { quiet: true });
    at("status").textContent = summary.notes.join("; ");
  });
})();

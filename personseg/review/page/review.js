"use strict";
const $ = (id) => document.getElementById(id);
const DEFECTS = {
  hair_gap: ["hair gap", "rgb(255,40,40)"], spots: ["spots", "rgb(255,0,255)"], holes: ["holes", "rgb(0,180,255)"],
  extra_background: ["extra background", "rgb(255,160,0)"], missing_part: ["missing part", "rgb(90,90,255)"],
  ragged_edge: ["ragged edge", ""], wrong_object: ["wrong object", ""],
};
const AHEAD = 4; // masks loaded before they are asked for
const KEEP = 24; // and kept after
const VIEW_KEYS = { o: "overlay", c: "contour", p: "photo", k: "mask", d: "defects" };

const state = {
  all: [], shown: [], at: 0, view: "overlay", undo: [], mending: false, loaded: new Map(), drawn: 0,
  scale: 1, x: 0, y: 0, fitted: true, mask: null, strokes: [], cut: false, before: false, saving: Promise.resolve(true),
  pending: new Map(), // defects and note of masks without a category yet, by stem
};

/* ---- talking to the server ---- */
async function send(url, options = {}) {
  const headers = { "X-Personseg": "review", ...(options.headers || {}) };
  let response;
  try {
    response = await fetch(url, { ...options, headers });
  } catch {
    throw new Error("the server does not answer; is `make review` still running?");
  }
  if (!response.ok && response.status !== 412) {
    const told = await response.json().catch(() => ({}));
    throw new Error(typeof told.detail === "string" ? told.detail : `error ${response.status}`);
  }
  return response;
}
const q = (stem) => `stem=${encodeURIComponent(stem)}`;

async function bitmap(url, options) {
  const response = await send(url, options);
  return { image: await createImageBitmap(await response.blob()), steps: response.headers.get("X-Steps") || "" };
}

function tell(text, bad = false) {
  const box = $("message");
  box.textContent = text;
  box.classList.toggle("bad", bad);
  box.hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { box.hidden = true; }, bad ? 8000 : 2500);
}

/* ---- loading ---- */
function pixelsOf(image) { // person or not, a byte per pixel
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data;
  const mask = new Uint8Array(image.width * image.height);
  for (let i = 0; i < mask.length; i++) mask[i] = data[4 * i] > 127 ? 1 : 0;
  return mask;
}

function load(stem) {
  if (!state.loaded.has(stem)) {
    const both = Promise.all([bitmap(`/api/photo?${q(stem)}`), bitmap(`/api/mask?${q(stem)}`, { cache: "no-store" })]);
    const entry = both.then(([photo, mask]) => ({ photo: photo.image, mask: pixelsOf(mask.image), defects: null }));
    entry.catch(() => state.loaded.delete(stem));
    state.loaded.set(stem, entry);
    if (state.loaded.size > KEEP) state.loaded.delete(state.loaded.keys().next().value);
  }
  return state.loaded.get(stem);
}

function loadAhead() {
  for (let step = 1; step <= AHEAD; step++) {
    const item = state.shown[state.at + step];
    if (item) load(item.stem).catch(() => {});
  }
}

/* ---- drawing ---- */
function contourOf(mask, width, height, paint) {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (!mask[i]) continue;
      const edge = (x > 0 && !mask[i - 1]) || (x < width - 1 && !mask[i + 1]) || (y > 0 && !mask[i - width]) ||
        (y < height - 1 && !mask[i + width]);
      if (edge) paint(i);
    }
  }
}

async function draw() {
  const item = current(), ticket = ++state.drawn;
  $("mend-save").disabled = !differs(state.mask);
  $("empty").hidden = Boolean(item);
  $("canvas").hidden = !item;
  if (!item) return;
  const loaded = await load(item.stem);
  if (state.view === "defects" && !loaded.defects) {
    loaded.defects = (await bitmap(`/api/defects?${q(item.stem)}`, { cache: "no-store" })).image;
  }
  if (ticket !== state.drawn) return; // another mask was asked for meanwhile
  const canvas = $("canvas"), { width, height } = loaded.photo;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(loaded.photo, 0, 0);
  const mask = state.mending && !state.before && state.mask ? state.mask : loaded.mask;
  if (state.view !== "photo") {
    const picture = context.getImageData(0, 0, width, height), data = picture.data;
    if (state.view === "mask") {
      for (let i = 0; i < mask.length; i++) data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = 255 * mask[i];
    } else if (state.view === "overlay") {
      for (let i = 0; i < mask.length; i++) {
        if (mask[i]) { data[4 * i] *= 0.75; data[4 * i + 1] = data[4 * i + 1] * 0.8 + 45; data[4 * i + 2] *= 0.75; }
      }
    }
    if (state.view !== "mask") {
      contourOf(mask, width, height, (i) => { data[4 * i] = 0; data[4 * i + 1] = 255; data[4 * i + 2] = 80; });
    }
    context.putImageData(picture, 0, 0);
    if (state.view === "defects") context.drawImage(loaded.defects, 0, 0);
  }
  if (state.fitted) fit(); else place();
  document.body.dataset.stem = item.stem; // what is on the screen now
}

function place() {
  $("canvas").style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.scale})`;
  $("canvas").classList.toggle("pixels", state.scale >= 3);
  $("zoom").textContent = `${Math.round(100 * state.scale)} %`;
}
function fit() {
  const box = $("viewport").getBoundingClientRect(), canvas = $("canvas");
  state.scale = Math.min(box.width / canvas.width, box.height / canvas.height);
  state.x = (box.width - canvas.width * state.scale) / 2;
  state.y = (box.height - canvas.height * state.scale) / 2;
  state.fitted = true;
  place();
}
function zoom(factor, x, y) {
  const box = $("viewport").getBoundingClientRect();
  [x, y] = [x ?? box.width / 2, y ?? box.height / 2];
  const scale = Math.min(40, Math.max(0.05, state.scale * factor));
  state.x = x - ((x - state.x) * scale) / state.scale;
  state.y = y - ((y - state.y) * scale) / state.scale;
  state.scale = scale;
  state.fitted = false;
  place();
}

/* ---- the list ---- */
const current = () => state.shown[state.at];

function refilter(keep) {
  const review = $("filter-state").value, suggested = $("filter-suggested").value;
  const defect = $("filter-defect").value, most = Number($("filter-quality").value || 1);
  state.shown = state.all.filter((item) =>
    (review === "all" || (review === "todo" && !item.row) || (review === "done" && item.row) ||
      (review === "differs" && item.row && item.row.category !== item.suggested) || (review === "mended" && item.mended)) &&
    (!suggested || item.suggested === Number(suggested)) && item.quality <= most &&
    (!defect || has(item, defect)));
  const at = keep ? state.shown.findIndex((item) => item.stem === keep) : -1;
  state.at = Math.max(0, at);
  show();
}
const reasonWords = { hair_gap: "hair gap", spots: "spot", holes: "hole", extra_background: "background",
  missing_part: "missing", ragged_edge: "ragged" };
function has(item, defect) {
  if (item.row) return item.row.defects.split(";").includes(defect);
  return Boolean(reasonWords[defect]) && item.reasons.includes(reasonWords[defect]);
}

function panel() {
  const item = current(), done = state.all.filter((each) => each.row).length;
  $("bar").style.width = `${(100 * done) / Math.max(1, state.all.length)}%`;
  $("count").textContent = `${done} of ${state.all.length} reviewed`;
  $("position").textContent = state.shown.length ? `${state.at + 1} of ${state.shown.length}` : "";
  $("mask-title").replaceChildren();
  $("reasons").textContent = "";
  $("measures").replaceChildren();
  for (const button of document.querySelectorAll("[data-category]")) {
    button.disabled = !item;
    button.setAttribute("aria-pressed", String(Boolean(item?.row) && item.row.category === Number(button.dataset.category)));
    button.classList.toggle("suggested", Boolean(item) && item.suggested === Number(button.dataset.category));
  }
  if (!item) return;
  const title = document.createElement("span"), small = document.createElement("small");
  title.textContent = `Mask ${item.stem}`;
  small.textContent = `score ${item.quality.toFixed(3)}${item.mended ? " · mended by hand" : ""}`;
  if (undecided(item)) small.textContent += " · ticks and note wait for a category";
  $("mask-title").append(title, small);
  $("reasons").textContent = item.reasons || "no defect found";
  for (const [name, value] of Object.entries(item.measures)) {
    if (!value) continue;
    const row = $("measures").insertRow();
    row.insertCell().textContent = name.replaceAll("_", " ");
    row.insertCell().textContent = Number(value.toPrecision(3));
  }
  const told = item.row || state.pending.get(item.stem), ticked = told ? told.defects.split(";") : [];
  for (const box of document.querySelectorAll("#defects input")) box.checked = ticked.includes(box.value);
  $("note").value = told ? told.note : "";
  $("undo").disabled = !state.undo.length;
  $("clear").disabled = !item.row;
}

function show() {
  begin(null);
  panel();
  draw().then(loadAhead).catch((error) => tell(error.message, true));
  if (state.mending) startMending();
}
function go(step) {
  if (!mayLeave()) return;
  const at = state.at + step;
  if (at < 0 || at >= state.shown.length) { tell(step > 0 ? "that was the last one" : "this is the first one"); return; }
  state.at = at;
  show();
}
const differs = (mask) => Boolean(mask?.some((value, i) => value !== state.given[i]));
const mayLeave = () => !differs(state.mask) || confirm("The mended mask is not saved. Leave it?");

/* ---- decisions ---- */
function save(item, row, undoable = true) {
  const expected = item.row;
  if (JSON.stringify(row) === JSON.stringify(expected)) return Promise.resolve(true);
  const step = { stem: item.stem, row: expected };
  if (undoable) state.undo.push(step);
  item.row = row; // shown at once; taken back if it cannot be saved
  panel();
  // One after the other: a quick undo must not overtake what it undoes.
  state.saving = state.saving.then(() => put(item, row, expected)).then((saved) => {
    if (!saved && undoable) state.undo = state.undo.filter((each) => each !== step);
    panel();
    return saved;
  });
  return state.saving;
}
async function put(item, row, expected) {
  try {
    const response = await send(`/api/review?${q(item.stem)}`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ row, expected }),
    });
    if (response.status === 412) {
      item.row = (await response.json()).current;
      tell(`Mask ${item.stem} was changed elsewhere; that decision is shown now. Decide again.`, true);
      return false;
    }
  } catch (error) {
    item.row = expected;
    tell(error.message, true);
    return false;
  }
  return true;
}
const undecided = (item) => !item.row && state.pending.has(item.stem);
const ticks = () => [...document.querySelectorAll("#defects input:checked")].map((box) => box.value).join(";");
function rowNow(category) {
  return { category, defects: ticks(), reviewer: $("reviewer").value.trim(), note: $("note").value.trim() };
}
async function decide(category) {
  const item = current();
  if (!item) return;
  const stays = item.row?.category === category;
  const row = rowNow(category);
  const next = state.shown[state.at + 1];
  const saving = save(item, row);
  if (!stays && !state.mending && next) { state.at += 1; show(); } // does not wait for the disk
  await saving;
}
async function details() {
  const item = current();
  if (item?.row) await save(item, rowNow(item.row.category));
  else if (item) pend(item);
}
function pend(item) { // kept after a decision too: undone, it leaves them as they were
  const defects = ticks(), note = $("note").value;
  if (defects || note.trim()) state.pending.set(item.stem, { defects, note });
  else state.pending.delete(item.stem);
  panel();
}
function clearRow() {
  const item = current();
  state.pending.delete(item.stem);
  return save(item, null);
}
async function undo() {
  const last = state.undo.pop();
  if (!last) return;
  const item = state.all.find((each) => each.stem === last.stem);
  if (!state.shown.includes(item)) refilter();
  const at = state.shown.indexOf(item);
  if (at >= 0 && at !== state.at) { state.at = at; show(); }
  if (await save(item, last.row, false)) tell(`Mask ${item.stem}: undone`);
}

/* ---- mending ---- */
function begin(mask) {
  state.given = mask;
  state.mask = mask && mask.slice();
  state.strokes = [];
  $("repaired").textContent = "";
}
function keepStroke() { // and what the page says of the repair, which an undo takes back
  state.strokes.push({ mask: state.mask.slice(), repaired: $("repaired").textContent });
  if (state.strokes.length > 50) state.strokes.shift();
}
async function startMending() {
  const item = current();
  if (!item) return;
  const loaded = await load(item.stem);
  if (item !== current()) return;
  begin(loaded.mask);
  draw();
}
function mend(on) {
  if (on === state.mending || (!on && !mayLeave())) return;
  state.mending = on;
  document.body.classList.toggle("mending", on);
  $("tab-mend").setAttribute("aria-pressed", String(on));
  $("tab-sort").setAttribute("aria-pressed", String(!on));
  if (on) { if (state.view === "photo") setView("overlay"); startMending(); } else show();
}
function at(event) { // px of the photo under the pointer
  const box = $("viewport").getBoundingClientRect();
  return [(event.clientX - box.left - state.x) / state.scale, (event.clientY - box.top - state.y) / state.scale];
}
function dab(x, y) {
  const canvas = $("canvas"), radius = Number($("size").value) / 2, value = state.cut ? 0 : 1;
  for (let py = Math.max(0, Math.floor(y - radius)); py <= Math.min(canvas.height - 1, y + radius); py++) {
    for (let px = Math.max(0, Math.floor(x - radius)); px <= Math.min(canvas.width - 1, x + radius); px++) {
      if ((px + 0.5 - x) ** 2 + (py + 0.5 - y) ** 2 <= radius ** 2) state.mask[py * canvas.width + px] = value;
    }
  }
}
function stroke(from, to) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, Number($("size").value) / 4)));
  for (let i = 1; i <= steps; i++) dab(from[0] + ((to[0] - from[0]) * i) / steps, from[1] + ((to[1] - from[1]) * i) / steps);
  if (!state.scheduled) state.scheduled = requestAnimationFrame(() => { state.scheduled = 0; draw(); });
}
function undoStroke() {
  const before = state.strokes.pop();
  if (!before) return;
  state.mask = before.mask;
  $("repaired").textContent = before.repaired;
  draw();
}
async function automatic() {
  const item = current();
  if (!item) return;
  tell("repairing …");
  const { image, steps } = await bitmap(`/api/repair?${q(item.stem)}`, { cache: "no-store" });
  if (item !== current() || !state.mask) return;
  const mask = pixelsOf(image), does = differs(mask);
  if (does) { keepStroke(); state.mask = mask; }
  $("message").hidden = true;
  $("repaired").textContent = `Automatic repair: ${does ? steps : "nothing it can mend here"}`;
  draw();
}
async function saveMask() {
  const item = current();
  if (!differs(state.mask)) { tell("nothing to save: no pixel is changed"); return; }
  const canvas = new OffscreenCanvas($("canvas").width, $("canvas").height), context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < state.mask.length; i++) {
    picture.data[4 * i] = picture.data[4 * i + 1] = picture.data[4 * i + 2] = 255 * state.mask[i];
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  const body = await canvas.convertToBlob({ type: "image/png" });
  await send(`/api/mended?${q(item.stem)}`, { method: "PUT", body });
  await keptMask(item, true);
  // Who mends a mask wants it used; category 3 would leave it out.
  if (!item.row || item.row.category === 3) await save(item, rowNow(2));
  tell(`Mask ${item.stem} saved`);
}
async function keptMask(item, mended) {
  item.mended = mended;
  state.loaded.delete(item.stem);
  panel();
  if (item !== current()) return;
  begin(state.mask); // not to be asked for while it loads
  await startMending();
}
async function dropMended() {
  const item = current();
  if (!item || !confirm("Go back to the mask as it came?")) return;
  await send(`/api/mended?${q(item.stem)}`, { method: "DELETE" });
  await keptMask(item, false);
}
const guarded = (action) => () => Promise.resolve(action()).catch((error) => tell(error.message, true));

/* ---- wiring ---- */
function setView(view) {
  state.view = view;
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  draw().catch((error) => tell(error.message, true));
}
function setBrush(cut) {
  state.cut = cut;
  $("brush-add").setAttribute("aria-pressed", String(!cut));
  $("brush-cut").setAttribute("aria-pressed", String(cut));
}
function setSize(value) {
  $("size").value = value;
  $("size-out").textContent = $("size").value;
}
function showBefore(on) {
  if (state.before === on) return;
  state.before = on;
  draw();
}

function wire() {
  for (const [value, [text, colour]] of Object.entries(DEFECTS)) {
    const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("span");
    box.type = "checkbox"; box.value = value;
    box.addEventListener("change", details);
    swatch.className = "swatch"; if (colour) swatch.style.background = colour;
    label.append(box, text, swatch);
    $("defects").append(label);
    $("filter-defect").append(new Option(text, value));
  }
  for (const button of document.querySelectorAll("[data-category]")) {
    button.addEventListener("click", () => decide(Number(button.dataset.category)));
  }
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => setView(button.dataset.view));
  for (const id of ["filter-state", "filter-suggested", "filter-defect", "filter-quality"]) {
    $(id).addEventListener("change", () => refilter(current()?.stem));
  }
  $("note").addEventListener("change", details);
  $("note").addEventListener("input", () => { if (current() && !current().row) pend(current()); });
  try { $("reviewer").value = localStorage.getItem("reviewer") || ""; } catch { /* private window */ }
  $("reviewer").addEventListener("change", () => { try { localStorage.setItem("reviewer", $("reviewer").value); } catch { /* same */ } });
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", clearRow);
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("zoom-in").addEventListener("click", () => zoom(1.4));
  $("zoom-out").addEventListener("click", () => zoom(1 / 1.4));
  $("fit").addEventListener("click", fit);
  $("tab-sort").addEventListener("click", () => mend(false));
  $("tab-mend").addEventListener("click", () => mend(true));
  $("help").addEventListener("click", () => $("keys").showModal());
  $("brush-add").addEventListener("click", () => setBrush(false));
  $("brush-cut").addEventListener("click", () => setBrush(true));
  $("size").addEventListener("input", () => setSize($("size").value));
  $("auto").addEventListener("click", guarded(automatic));
  $("mend-undo").addEventListener("click", undoStroke);
  $("mend-save").addEventListener("click", guarded(saveMask));
  $("drop").addEventListener("click", guarded(dropMended));
  $("before").addEventListener("pointerdown", () => showBefore(true));
  for (const end of ["pointerup", "pointerleave"]) $("before").addEventListener(end, () => showBefore(false));

  const viewport = $("viewport");
  viewport.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = viewport.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  let held = null;
  viewport.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    viewport.setPointerCapture(event.pointerId);
    const paints = state.mending && state.mask && event.button === 0 && !event.shiftKey;
    held = { paints, last: at(event), x: event.clientX, y: event.clientY };
    if (paints) { keepStroke(); stroke(held.last, held.last); }
  });
  viewport.addEventListener("pointermove", (event) => {
    if (!held) return;
    if (held.paints) { const now = at(event); stroke(held.last, now); held.last = now; return; }
    state.x += event.clientX - held.x; state.y += event.clientY - held.y;
    [held.x, held.y] = [event.clientX, event.clientY];
    state.fitted = false;
    place();
  });
  for (const end of ["pointerup", "pointercancel"]) viewport.addEventListener(end, () => { held = null; });
  new ResizeObserver(() => { if (state.fitted && current()) fit(); }).observe(viewport);

  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=checkbox]):not([type=range]), select") || $("keys").open) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); if (state.mending) undoStroke(); else undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ("123".includes(key)) decide(Number(key));
    else if (key === "arrowright") go(1);
    else if (key === "arrowleft") go(-1);
    else if (VIEW_KEYS[key]) setView(VIEW_KEYS[key]);
    else if (key === "u") undo();
    else if (key === "+" || key === "=") zoom(1.4);
    else if (key === "-") zoom(1 / 1.4);
    else if (key === "0") fit();
    else if (key === "s") mend(false);
    else if (key === "m") mend(true);
    else if (key === "?") $("keys").showModal();
    else if (state.mending && key === "x") setBrush(!state.cut);
    else if (state.mending && key === "[") setSize(Number($("size").value) - 2);
    else if (state.mending && key === "]") setSize(Number($("size").value) + 2);
    else if (state.mending && key === "b") showBefore(true);
    else if (state.mending && key === "enter") guarded(saveMask)();
    else return;
    if (event.target.matches("button")) event.target.blur();
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "b") showBefore(false); });
  addEventListener("beforeunload", (event) => {
    if (differs(state.mask) || state.all.some(undecided)) event.preventDefault();
  });
}

async function start() {
  wire();
  setView("overlay");
  const told = await (await send("/api/masks")).json();
  state.all = told.masks;
  $("name").textContent = told.name;
  document.title = `Review of ${told.name}`;
  const first = state.all.findIndex((item) => !item.row); // go on where the last sitting ended
  refilter(first > 0 ? state.all[first].stem : undefined);
}
start().catch((error) => tell(error.message, true));

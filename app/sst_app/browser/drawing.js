// A surface on which masks are drawn: polygons, brush, eraser and clicks on a photograph that is zoomed and moved.
//
// It holds a label map, one byte a pixel of the photograph (0 = nothing, n = the n-th of `names`), and shows that map
// and nothing else. Every finished stroke sends all of it to Python, so what is saved is what is shown.
//
// data: version of the drawing; another one replaces what is drawn.
//       image (URL), width, height of the photograph.
//       traits [{name, colour}] that can be drawn.
//       start {names, runs}: the label map to begin with; read when the surface appears or the version changes.
//       tighten: whether a box is drawn around something that stands out, which is to be found in it.
//       grown {number, runs, box} or null: the mask grown from the clicks of that number.
// state: drawing {version, serial, names, runs}: the label map after a stroke.
//        clicks {number, trait, inside, outside, box} or null: points in pixels of the photograph; box [x0, y0, x1, y1].
const UNDO_STEPS = 100;
const OVERLAY_PIXELS = 12e6; // A larger photograph is overlaid with a subsampled map; the map itself is never smaller.
const CLOSE = 8, SAME = 3, REPEAT = 1, DRAG = 5; // Screen pixels: near or on the first corner, a double click, a drag.
const TOOLS = [
  ["polygon", "Polygon", "P", "Click the corners; click the first one, or Enter, to close. Drag for a free outline. Shift on closing cuts out."],
  ["box", "Box", "R", "Drag a box; all in it is drawn. Shift cuts it out."],
  ["brush", "Brush", "B", "Paint; [ and ] change the size. Shift erases."],
  ["eraser", "Eraser", "E", "Erase; [ and ] change the size."],
  ["wand", "Click", "W", "Click on the trait; Shift-click what does not belong to it. Enter keeps the mask, Esc drops it."],
  ["move", "Move", "H", "Drag to move, wheel or two fingers to zoom. In every tool: hold Space and drag."],
];

export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".drawing");
  const surface = (root._surface ??= new Surface(root));
  surface.update(data, setStateValue);
  return () => surface.detach();
}

class Surface {
  constructor(root) {
    this.root = root;
    this.names = [];
    this.tool = "polygon";
    this.shown = true;
    this.protect = false;
    this.past = [];
    this.future = [];
    this.corners = [];
    this.dropped = [];
    this.clicks = [];
    this.number = 0;
    this.serial = 0;
    this.pointers = new Map();
    this.build();
    this.onKey = (event) => this.key(event);
    this.onKeyUp = (event) => { if (event.key === " ") this.space = false; };
    this.onOutside = (event) => this.outside(event);
    this.onResize = () => this.resize();
    this.observer = new ResizeObserver(this.onResize);
  }

  // ------------------------------------------------------------------------------------------------- what Python says

  update(data, setStateValue) {
    this.attach();
    this.data = data;
    this.setState = setStateValue;
    for (const trait of data.traits) if (!this.names.includes(trait.name)) this.names.push(trait.name);
    if (!data.traits.some((trait) => trait.name === this.trait)) this.trait = data.traits[0].name;
    this.paint = Object.fromEntries(data.traits.map((trait) => [trait.name, trait.colour]));
    if (this.url !== data.image) this.load(data);
    if (this.version !== data.version) this.begin(data);
    if (this.palette !== JSON.stringify(data.traits)) { this.palette = JSON.stringify(data.traits); this.redraw(this.whole()); }
    const grown = data.grown;
    if (grown?.box) this.tightened(grown);
    else if (grown && this.clicks.length && grown.number === this.number) {
      this.grown = { trait: this.clicks[0].trait, mask: decodeRuns(grown.runs, this.labels.length) };
      this.drawGrown();
      if (this.keepWhenGrown) this.keepGrown();
    }
    this.tools();
    this.resize();
  }

  load(data) {
    this.url = data.image;
    this.photograph = null;
    const picture = new Image();
    picture.onload = () => { if (this.url === data.image) { this.photograph = picture; this.root.dataset.ready = "1"; this.frame(); } };
    picture.onerror = () => this.say("The photograph could not be loaded; load the page again.");
    picture.src = data.image.startsWith("data:") ? data.image : new URL(data.image.replace(/^\//, ""), document.baseURI).href;
  }

  begin(data) {
    const { width, height, start } = data;
    const labels = new Uint8Array(width * height);
    const found = decodeRuns(start.runs, labels.length);
    for (const name of start.names) if (!this.names.includes(name)) this.names.push(name);
    const own = [0, ...start.names.map((name) => this.names.indexOf(name) + 1)];
    for (let i = 0; i < labels.length; i++) labels[i] = own[found[i]];
    const before = this.labels;
    const same = before && this.width === width && this.height === height;
    this.version = data.version;
    this.labels = labels;
    this.width = width;
    this.height = height;
    this.dropPending();
    if (same) this.remember(before, this.whole()); // What was drawn before can be had back.
    else {
      this.past = [];
      this.future = [];
      this.step = Math.max(1, Math.ceil(Math.sqrt((width * height) / OVERLAY_PIXELS)));
      this.overlay = makeCanvas(Math.ceil(width / this.step), Math.ceil(height / this.step));
      this.preview = makeCanvas(this.overlay.width, this.overlay.height);
      this.size = Math.max(2, Math.round(Math.min(width, height) * 0.03));
      this.view = null;
    }
    this.redraw(this.whole());
  }

  send() {
    this.serial += 1;
    this.root.dataset.serial = this.serial;
    this.setState("drawing", { version: this.version, serial: this.serial, names: this.names, runs: encodeRuns(this.labels) });
  }

  // --------------------------------------------------------------------------------------------------- the label map

  whole() { return [0, 0, this.width, this.height]; }

  // Change pixels: `inside(set)` calls set(y, x0, x1) for spans of a row. Returns the changed rectangle, or null.
  fill(label, spans) {
    const { labels, width, height } = this;
    const own = this.names.indexOf(this.trait) + 1;
    let x0 = width, y0 = height, x1 = 0, y1 = 0;
    spans((y, left, right) => {
      left = Math.max(0, left); right = Math.min(width, right);
      if (y < 0 || y >= height || left >= right) return;
      for (let x = left, at = y * width + left; x < right; x++, at++) {
        const there = labels[at];
        if (there === label || (this.protect && there !== 0 && there !== own)) continue;
        labels[at] = label;
        if (x < x0) x0 = x;
        if (x >= x1) x1 = x + 1;
        if (y < y0) y0 = y;
        if (y >= y1) y1 = y + 1;
      }
    });
    return x0 < x1 ? [x0, y0, x1, y1] : null;
  }

  remember(before, rect) {
    this.past.push({ rect, before: cut(before, this.width, rect), after: cut(this.labels, this.width, rect) });
    if (this.past.length > UNDO_STEPS) this.past.shift();
    this.future = [];
  }

  // Fill as one step that can be undone.
  change(label, spans) {
    const before = this.labels.slice();
    const rect = this.fill(label, spans);
    if (rect) { this.remember(before, rect); this.redraw(rect); this.send(); }
    this.tools();
  }

  undo() {
    if (this.clicks.length) return this.unclick();
    if (this.corners.length) { this.dropped.push(this.corners.pop()); return this.frame(); }
    this.travel(this.past, this.future, "before");
  }

  redo() {
    if (this.dropped.length) { this.corners.push(this.dropped.pop()); return this.frame(); }
    this.travel(this.future, this.past, "after");
  }

  travel(from, to, which) {
    const step = from.pop();
    if (!step) return;
    paste(this.labels, this.width, step.rect, step[which]);
    to.push(step);
    this.redraw(step.rect);
    this.send();
    this.tools();
  }

  // What is begun is finished: an outline is closed, a mask grown from clicks is kept.
  finish() {
    if (this.stroke) this.endStroke();
    if (this.corners.length > 2) this.close(false);
    else { this.corners = []; this.dropped = []; }
    if (this.grown) this.keepGrown();
    else if (this.clicks.length) this.dropClicks();
    this.frame();
  }

  dropPending() {
    this.corners = [];
    this.dropped = [];
    this.stroke = null;
    if (this.clicks.length) this.dropClicks();
  }

  clear() {
    this.dropPending();
    const own = this.names.indexOf(this.trait) + 1;
    const { labels, width, height } = this;
    this.change(0, (set) => {
      for (let y = 0; y < height; y++)
        for (let x = 0, at = y * width; x < width; x++, at++) if (labels[at] === own) set(y, x, x + 1);
    });
    this.frame();
  }

  close(cutOut) {
    const corners = this.corners;
    this.corners = [];
    this.dropped = [];
    if (corners.length > 2) this.change(cutOut ? 0 : this.names.indexOf(this.trait) + 1, polygonSpans(corners));
    this.frame();
  }

  beginStroke(point, erase) {
    this.stroke = { before: this.labels.slice(), label: erase ? 0 : this.names.indexOf(this.trait) + 1, rect: null, last: point };
    this.extend(point);
  }

  extend(point) {
    const rect = this.fill(this.stroke.label, strokeSpans(this.stroke.last, point, this.size / 2));
    this.stroke.last = point;
    if (!rect) return;
    const all = this.stroke.rect;
    this.stroke.rect = all ? [Math.min(all[0], rect[0]), Math.min(all[1], rect[1]), Math.max(all[2], rect[2]), Math.max(all[3], rect[3])] : rect;
    this.redraw(rect);
  }

  endStroke() {
    const { before, rect } = this.stroke;
    this.stroke = null;
    if (rect) { this.remember(before, rect); this.send(); }
    this.tools();
  }

  // ------------------------------------------------------------------------------------------------- clicks to a mask

  click(point, inside) {
    if (!inside && !this.clicks.some((each) => each.inside)) return this.say("Click on the trait first, then on what does not belong to it.");
    this.clicks.push({ trait: this.trait, at: point.map((value) => Math.round(value * 10) / 10), inside });
    this.ask();
  }

  // A box is drawn as it is; what stands out in it takes its place, as a step of its own, which can be undone.
  tighten() {
    const before = this.labels.slice(), [[x0, y0], , [x1, y1]] = this.corners;
    const [left, right] = [x0, x1].sort((a, b) => a - b), [top, bottom] = [y0, y1].sort((a, b) => a - b);
    const box = [Math.max(0, Math.round(left)), Math.max(0, Math.round(top)), Math.min(this.width, Math.round(right)), Math.min(this.height, Math.round(bottom))];
    this.close(false);
    if (box[0] >= box[2] || box[1] >= box[3]) return;
    this.number += 1;
    this.tightening = { number: this.number, serial: this.serial, before, box, own: this.names.indexOf(this.trait) + 1 };
    this.setState("clicks", { number: this.number, trait: this.trait, inside: [], outside: [], box });
    this.say("Looking for what stands out in the box ...");
  }

  tightened({ number, runs }) {
    const asked = this.tightening;
    if (!asked || asked.number !== number) return;
    this.tightening = null;
    if (this.serial !== asked.serial) return; // Something was drawn since.
    if (!runs) return this.say("Nothing stands out in the box; it stays as you drew it.");
    const before = this.labels.slice(), mask = decodeRuns(runs, this.labels.length), { box, own } = asked;
    for (let y = box[1]; y < box[3]; y++)
      for (let x = box[0], at = y * this.width + x; x < box[2]; x++, at++)
        if (before[at] === own && !mask[at]) this.labels[at] = asked.before[at];
    this.remember(before, box);
    this.redraw(box);
    this.send();
    this.say("The box was tightened to what stands out in it; Ctrl+Z has it back.");
  }

  unclick() {
    this.clicks.pop();
    if (this.clicks.some((each) => each.inside)) this.ask();
    else this.dropClicks();
  }

  ask() {
    this.number += 1;
    const at = (inside) => this.clicks.filter((each) => each.inside === inside).map((each) => each.at);
    this.setState("clicks", { number: this.number, trait: this.trait, inside: at(true), outside: at(false) });
    this.say("Growing the mask ...");
    this.frame();
  }

  drawGrown() {
    paintMap(this.preview, this.grown.mask, this.width, this.height, this.step, [null, this.paint[this.grown.trait]], this.whole(), 150);
    this.say("Enter keeps the mask; more clicks, or Shift-clicks, mend it; Esc drops it.");
    this.frame();
  }

  keepGrown() {
    const { mask, trait } = this.grown;
    const { width, height } = this;
    const chosen = this.trait;
    this.trait = trait;
    this.dropClicks();
    this.change(this.names.indexOf(trait) + 1, (set) => {
      for (let y = 0; y < height; y++)
        for (let x = 0, at = y * width; x < width; x++, at++) if (mask[at]) set(y, x, x + 1);
    });
    this.trait = chosen;
    this.say();
    this.frame();
  }

  dropClicks() {
    this.clicks = [];
    this.grown = null;
    this.keepWhenGrown = false;
    this.setState("clicks", null);
    this.say();
    this.frame();
  }

  // -------------------------------------------------------------------------------------------------------- the screen

  build() {
    this.root.innerHTML = `<div class="bar traits" role="toolbar" aria-label="Traits"></div>
      <div class="bar tools" role="toolbar" aria-label="Drawing tools"></div>
      <div class="stage"><canvas tabindex="0" role="img"></canvas></div>
      <div class="hint" aria-live="polite"></div>`;
    [this.traitBar, this.toolBar, this.stage, this.hint] = this.root.children;
    this.canvas = this.stage.firstElementChild;
    this.context = this.canvas.getContext("2d");
    this.buttons = {};
    const zoom = document.createElement("div");
    zoom.className = "zoom";
    const add = (name, text, key, title, act, bar = this.toolBar) => {
      const button = document.createElement("button");
      button.type = "button";
      button.innerHTML = `${text}${key ? ` <kbd>${key}</kbd>` : ""}`;
      button.title = title;
      button.setAttribute("aria-label", title.split(";")[0].split(".")[0]);
      button.onclick = act;
      bar.append(button);
      this.buttons[name] = button;
    };
    for (const [name, text, key, title] of TOOLS) add(name, text, key, `${text}: ${title}`, () => this.choose(name));
    const size = document.createElement("label");
    size.className = "size";
    size.innerHTML = `<input type="range" min="0" max="100" aria-label="Size of brush and eraser"><output></output>`;
    this.slider = size.querySelector("input");
    this.slider.oninput = () => { this.size = fromSlider(this.slider.value, this.largest()); this.tools(); this.frame(); };
    this.toolBar.append(size);
    const steps = document.createElement("span");
    steps.className = "steps";
    this.toolBar.append(steps);
    add("undo", "\u21B6", "", "Undo (Ctrl+Z)", () => this.undo(), steps);
    add("redo", "\u21B7", "", "Redo (Ctrl+Shift+Z)", () => this.redo(), steps);
    add("clear", "Clear", "", "Clear the chosen trait", () => this.clear());
    add("hide", "Hide", "V", "Hide what is drawn, or show it again (V)", () => { this.shown = !this.shown; this.tools(); this.frame(); });
    add("protect", "Protect", "L", "Protect the other traits: drawing and erasing changes the chosen trait only (L)", () => { this.protect = !this.protect; this.tools(); });
    add("out", "\u2212", "", "Zoom out (-)", () => this.zoom(1 / 1.4), zoom);
    add("fit", "Fit", "F", "Show the whole photograph (F)", () => { this.view = null; this.frame(); }, zoom);
    add("in", "+", "", "Zoom in (+)", () => this.zoom(1.4), zoom);
    this.toolBar.append(zoom);
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => { this.pointers.delete(event.pointerId); this.pan = null; if (this.stroke) this.endStroke(); });
    canvas.addEventListener("pointerleave", () => { this.cursor = null; this.frame(); });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), this.place(event));
    }, { passive: false });
    // Keys are meant for the surface once the mouse is there, unless a text is being written.
    canvas.addEventListener("pointerenter", () => {
      const there = document.activeElement;
      if (!there || there === document.body || there.matches("button, a, [role='combobox'], [role='slider']")) canvas.focus({ preventScroll: true });
    });
  }

  attach() {
    if (this.attached) return;
    this.attached = true;
    window.addEventListener("keydown", this.onKey, true);
    window.addEventListener("keyup", this.onKeyUp, true);
    window.addEventListener("pointerdown", this.onOutside, true);
    window.addEventListener("resize", this.onResize);
    this.observer.observe(this.root);
  }

  detach() {
    this.attached = false;
    window.removeEventListener("keydown", this.onKey, true);
    window.removeEventListener("keyup", this.onKeyUp, true);
    window.removeEventListener("pointerdown", this.onOutside, true);
    window.removeEventListener("resize", this.onResize);
    this.observer.disconnect();
  }

  choose(tool) {
    if (tool === this.tool) return;
    this.finish();
    this.tool = tool;
    this.say();
    this.tools();
    this.frame();
  }

  pick(trait) {
    if (trait === this.trait) return;
    this.finish();
    this.trait = trait;
    this.tools();
    this.frame();
  }

  tools() {
    const { traits } = this.data;
    const wanted = traits.map((trait) => trait.name + trait.colour).join("\n");
    if (this.traitBar.dataset.wanted !== wanted) {
      this.traitBar.dataset.wanted = wanted;
      this.traitBar.hidden = traits.length < 2;
      this.traitBar.replaceChildren(...traits.map((trait, place) => {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.trait = trait.name;
        button.title = place < 9 ? `Draw ${trait.name} (${place + 1})` : `Draw ${trait.name}`;
        const dot = document.createElement("i");
        dot.style.background = trait.colour;
        const text = document.createElement("span");
        text.textContent = trait.name;
        button.append(dot, text);
        if (place < 9) { const key = document.createElement("kbd"); key.textContent = place + 1; button.append(key); }
        button.onclick = () => this.pick(trait.name);
        return button;
      }));
    }
    for (const button of this.traitBar.children) button.setAttribute("aria-pressed", button.dataset.trait === this.trait);
    for (const [name] of TOOLS) this.buttons[name].setAttribute("aria-pressed", this.tool === name);
    this.buttons.hide.setAttribute("aria-pressed", !this.shown);
    this.buttons.protect.setAttribute("aria-pressed", this.protect);
    this.buttons.protect.hidden = traits.length < 2;
    this.buttons.undo.disabled = !this.past.length && !this.corners.length && !this.clicks.length;
    this.buttons.redo.disabled = !this.future.length && !this.dropped.length;
    this.slider.value = toSlider(this.size, this.largest());
    this.slider.nextElementSibling.textContent = `${this.size} px`;
    this.canvas.setAttribute("aria-label", `Photograph; ${this.trait} is drawn with the ${this.tool}`);
    this.canvas.style.cursor = this.tool === "move" || this.space ? "grab" : "crosshair";
    if (!this.hint.textContent) this.say();
  }

  say(text) { this.hint.textContent = text ?? TOOLS.find(([name]) => name === this.tool)[3]; }

  largest() { return Math.max(20, Math.round(Math.min(this.width, this.height) / 2)); }

  // As wide as the column, as high as the window leaves room for.
  resize() {
    const wide = Math.floor(this.root.clientWidth);
    if (!wide || !this.data) return;
    const above = this.stage.getBoundingClientRect().top - this.root.getBoundingClientRect().top;
    const room = Math.max(0.55 * window.innerHeight, window.innerHeight - this.top() - above - 44);
    const high = Math.round(Math.max(180, Math.min(room, (wide * this.data.height) / this.data.width)));
    const dense = window.devicePixelRatio || 1;
    if (this.wide === wide && this.high === high && this.dense === dense) return;
    Object.assign(this, { wide, high, dense });
    this.canvas.width = wide * dense;
    this.canvas.height = high * dense;
    this.canvas.style.height = `${high}px`;
    this.view = null;
    this.frame();
  }

  // Where the surface begins on the page, however far that is scrolled.
  top() {
    let top = this.root.getBoundingClientRect().top;
    for (let node = this.root; node; node = node.parentNode || node.host) top += node.scrollTop || 0;
    return top;
  }

  fitted() {
    const scale = Math.min(this.wide / this.width, this.high / this.height);
    return { scale, x: (this.wide - this.width * scale) / 2, y: (this.high - this.height * scale) / 2 };
  }

  zoom(factor, about = [this.wide / 2, this.high / 2]) {
    const view = this.view ?? this.fitted(), least = this.fitted().scale;
    const scale = Math.min(Math.max(view.scale * factor, least * 0.8), Math.max(40, least * 4));
    const ratio = scale / view.scale;
    this.view = { scale, x: about[0] - (about[0] - view.x) * ratio, y: about[1] - (about[1] - view.y) * ratio };
    this.frame();
  }

  redraw(rect) {
    if (!this.labels) return;
    paintMap(this.overlay, this.labels, this.width, this.height, this.step, [null, ...this.names.map((name) => this.paint[name] ?? "#888888")], rect, 90);
    this.frame();
  }

  frame() {
    if (this.due || !this.wide || !this.labels) return;
    this.due = requestAnimationFrame(() => { this.due = 0; this.draw(); });
  }

  draw() {
    const { context, dense } = this, { scale, x, y } = this.view ?? this.fitted();
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.fillStyle = "#ECECEA";
    context.fillRect(0, 0, this.wide, this.high);
    context.setTransform(dense * scale, 0, 0, dense * scale, dense * x, dense * y);
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    if (this.photograph) context.drawImage(this.photograph, 0, 0, this.width, this.height);
    const size = [this.overlay.width * this.step, this.overlay.height * this.step];
    if (this.shown) context.drawImage(this.overlay, 0, 0, ...size);
    if (this.grown) context.drawImage(this.preview, 0, 0, ...size);
    context.setTransform(dense, 0, 0, dense, 0, 0);
    const at = ([px, py]) => [px * scale + x, py * scale + y];
    const colour = this.paint[this.trait];
    if (this.corners.length) this.drawOutline(this.corners.map(at), colour);
    for (const each of this.clicks) dot(context, at(each.at), 6, each.inside ? "#FFFFFF" : "#D55E00", each.inside ? "+" : "\u2212");
    if (this.cursor && (this.tool === "brush" || this.tool === "eraser")) {
      for (const [ink, wide] of [["#000", 3], ["#fff", 1.2]]) {
        context.beginPath();
        context.arc(...this.cursor, Math.max(1, (this.size / 2) * scale), 0, 7);
        context.strokeStyle = ink;
        context.lineWidth = wide;
        context.stroke();
      }
    }
  }

  drawOutline(points, colour) {
    const { context } = this;
    const line = this.cursor && this.tool === "polygon" ? [...points, this.cursor] : points;
    context.beginPath();
    line.forEach(([px, py], place) => (place ? context.lineTo(px, py) : context.moveTo(px, py)));
    context.fillStyle = `${colour}40`;
    context.fill();
    for (const [ink, wide] of [["#000", 3.5], ["#fff", 2.2], [colour, 1.6]]) {
      context.strokeStyle = ink;
      context.lineWidth = wide;
      context.stroke();
    }
    const near = this.cursor && points.length > 2 && this.isFirst(this.cursor, points);
    points.forEach((point, place) => { if (place === 0 || points.length < 60) dot(context, point, place ? 3 : near ? 8 : 5.5, place ? "#fff" : colour); });
  }

  // ------------------------------------------------------------------------------------------------ pointer and keys

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  pixel([x, y]) {
    const view = this.view ?? this.fitted();
    return [(x - view.x) / view.scale, (y - view.y) / view.scale];
  }

  down(event) {
    const at = this.place(event);
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, at);
    this.cursor = at;
    if (this.pointers.size === 2) { // Two fingers zoom; what the first has begun is taken back.
      if (this.stroke) { const { rect } = this.stroke; this.endStroke(); if (rect) this.undo(); }
      if (this.pressed && this.tool === "box") this.corners = [];
      this.pressed = null;
      this.pan = null;
      return;
    }
    if (event.button === 2) { if (this.corners.length > 2) this.close(event.shiftKey); return; }
    if (event.button === 1 || this.space || this.tool === "move") { event.preventDefault(); this.pan = at; return; }
    if (event.button) return;
    if (this.tool === "brush" || this.tool === "eraser") return this.beginStroke(this.pixel(at), (this.tool === "eraser") !== event.shiftKey);
    this.pressed = { at, free: false, begun: this.corners.length, time: event.timeStamp };
  }

  drag(event) {
    const at = this.place(event);
    if (this.pointers.size === 2 && this.pointers.has(event.pointerId)) return this.pinch(event.pointerId, at);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, at);
    this.cursor = at;
    if (this.pan) {
      const view = this.view ?? this.fitted();
      this.view = { ...view, x: view.x + at[0] - this.pan[0], y: view.y + at[1] - this.pan[1] };
      this.pan = at;
    } else if (this.stroke) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) this.extend(this.pixel(this.place(each)));
    } else if (this.pressed && this.tool === "box") {
      const far = Math.abs(at[0] - this.pressed.at[0]) > SAME && Math.abs(at[1] - this.pressed.at[1]) > SAME;
      this.corners = far ? rectangle(this.pixel(this.pressed.at), this.pixel(at)) : [];
    } else if (this.pressed && this.tool === "polygon") {
      if (!this.pressed.free && distance(at, this.pressed.at) > DRAG) { // A free outline.
        this.pressed.free = true;
        this.addCorner(this.pressed.at);
      }
      if (this.pressed.free && distance(at, this.pressed.last ?? this.pressed.at) > 3) { this.pressed.last = at; this.addCorner(at); }
    }
    this.frame();
  }

  pinch(id, at) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, place]) => place);
    const before = this.pointers.get(id);
    const middle = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    this.zoom(distance(at, other) / Math.max(1, distance(before, other)), middle);
    const view = this.view;
    this.view = { ...view, x: view.x + (at[0] - before[0]) / 2, y: view.y + (at[1] - before[1]) / 2 };
    this.pointers.set(id, at);
  }

  up(event) {
    const at = this.place(event), pressed = this.pressed;
    this.pointers.delete(event.pointerId);
    this.pressed = null;
    this.pan = null;
    if (this.stroke) return this.endStroke();
    if (!pressed) return;
    if (this.tool === "wand") return this.click(this.pixel(pressed.at), !event.shiftKey);
    if (this.tool === "box") {
      if (this.corners.length && this.data.tighten && !event.shiftKey) this.tighten();
      else if (this.corners.length) this.close(event.shiftKey);
      this.tools();
      return this.frame();
    }
    if (this.tool !== "polygon") return;
    const view = this.view ?? this.fitted();
    const screen = ([x, y]) => [x * view.scale + view.x, y * view.scale + view.y];
    const several = this.corners.length > 2;
    const closes = several && this.isFirst(at, this.corners.map(screen));
    if (pressed.free) {
      if (several && (pressed.begun === 0 || closes)) this.close(event.shiftKey);
    } else if (closes) this.close(event.shiftKey);
    else if (several && distance(pressed.at, screen(this.corners.at(-1))) <= REPEAT && pressed.time - this.clicked < 500) this.close(event.shiftKey);
    else this.addCorner(pressed.at);
    this.clicked = pressed.time;
    this.tools();
    this.frame();
  }

  // Whether a click closes the outline: on its first corner, or near it once some corner is well away from there, so that
  // corners may begin as close together as the outline needs.
  isFirst(at, [first, ...others]) {
    const far = distance(at, first);
    return far <= SAME || (far <= CLOSE && others.some((each) => distance(each, first) > 4 * CLOSE));
  }

  addCorner(at) {
    this.corners.push(this.pixel(at));
    this.dropped = [];
  }

  // A button elsewhere, such as Save, finds all that is shown.
  outside(event) {
    const path = event.composedPath();
    if (path.includes(this.root)) return;
    if (path.some((node) => node.matches?.("button, a, input, textarea, label, [role='button'], [role='combobox'], [role='radio']"))) this.finish();
  }

  key(event) {
    const path = event.composedPath(), target = path[0];
    const inside = path.includes(this.root), elsewhere = !inside && target !== document.body;
    if (target.matches?.("textarea, select, input:not([type=range]), [contenteditable=true]")) return;
    if (elsewhere && path.some((node) => node.matches?.("[role='combobox'], [role='listbox'], [role='slider'], [role='radiogroup'], [role='tablist']"))) return;
    const command = event.ctrlKey || event.metaKey, key = event.key;
    if ((key === "Enter" || key === " ") && target.matches?.("button, a, summary, [role='button']")) return; // It is pressed.
    let act = null;
    if (command && key.toLowerCase() === "s") return this.finish();
    if (command && key.toLowerCase() === "z") act = () => (event.shiftKey ? this.redo() : this.undo());
    else if (command && key.toLowerCase() === "y") act = () => this.redo();
    else if (command || event.altKey) return;
    else if (key >= "1" && key <= "9") { const trait = this.data.traits[key - 1]; if (trait) act = () => this.pick(trait.name); }
    else if (key === "[" || key === "]") act = () => { this.size = grow(this.size, key === "]", this.largest()); };
    else if (key === "Enter") act = () => this.enter(event.shiftKey);
    else if (key === "Escape") { if (this.corners.length || this.clicks.length) act = () => { this.dropPending(); this.frame(); }; }
    else if (key === "Backspace" || key === "Delete") act = () => { if (this.corners.length || this.clicks.length) this.undo(); };
    else if (key === "+" || key === "=") act = () => this.zoom(1.4);
    else if (key === "-") act = () => this.zoom(1 / 1.4);
    else if (key === " ") act = () => { this.space = true; };
    else if (key.startsWith("Arrow") && target === this.canvas) act = () => this.nudge(key);
    else {
      const letter = key.toUpperCase();
      const tool = TOOLS.find((each) => each[2] === letter);
      if (tool) act = () => this.choose(tool[0]);
      else if (letter === "V") act = () => { this.shown = !this.shown; };
      else if (letter === "L") act = () => { this.protect = !this.protect; };
      else if (letter === "F") act = () => { this.view = null; };
    }
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has keys of its own.
    act();
    this.tools();
    this.frame();
  }

  enter(shift) {
    if (this.grown) this.keepGrown();
    else if (this.clicks.length) this.keepWhenGrown = true;
    else this.close(shift);
  }

  nudge(key) {
    const view = this.view ?? this.fitted(), by = 40;
    const [x, y] = { ArrowLeft: [by, 0], ArrowRight: [-by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[key];
    this.view = { ...view, x: view.x + x, y: view.y + y };
  }
}

// ------------------------------------------------------------------------------------------------------------ geometry

const rectangle = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
const distance = ([a, b], [c, d]) => Math.hypot(a - c, b - d);
const fromSlider = (value, most) => Math.max(1, Math.round(most ** (value / 100)));
const toSlider = (size, most) => Math.round((100 * Math.log(size)) / Math.log(most));
const grow = (size, up, most) => Math.min(most, Math.max(1, up ? Math.max(size + 1, Math.round(size * 1.25)) : Math.min(size - 1, Math.round(size / 1.25))));

// The pixels whose centre lies inside a polygon, by the nonzero winding rule.
export function polygonSpans(corners) {
  return (set) => {
    const ys = corners.map(([, y]) => y);
    const first = Math.max(0, Math.floor(Math.min(...ys))), last = Math.ceil(Math.max(...ys));
    for (let y = first; y <= last; y++) {
      const centre = y + 0.5, crossings = [];
      corners.forEach(([x0, y0], place) => {
        const [x1, y1] = corners[(place + 1) % corners.length];
        if (y0 <= centre !== y1 <= centre) crossings.push([x0 + ((centre - y0) * (x1 - x0)) / (y1 - y0), y1 > y0 ? 1 : -1]);
      });
      crossings.sort((a, b) => a[0] - b[0]);
      let winding = 0;
      crossings.forEach(([x, turn], place) => {
        if (winding) set(y, Math.ceil(crossings[place - 1][0] - 0.5), Math.ceil(x - 0.5));
        winding += turn;
      });
    }
  };
}

// The pixels whose centre is at most `radius` from a line; the pixel under a line thinner than that is always in.
export function strokeSpans([x0, y0], [x1, y1], radius) {
  return (set) => {
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2, reach = Math.max(radius, 0.5) ** 2;
    const [left, right] = [Math.floor(Math.min(x0, x1) - radius - 1), Math.ceil(Math.max(x0, x1) + radius + 1)];
    for (let y = Math.floor(Math.min(y0, y1) - radius - 1); y <= Math.max(y0, y1) + radius + 1; y++) {
      let begin = null;
      for (let x = left; x <= right; x++) {
        const t = length ? Math.min(1, Math.max(0, ((x + 0.5 - x0) * (x1 - x0) + (y + 0.5 - y0) * (y1 - y0)) / length)) : 0;
        const far = (x + 0.5 - x0 - t * (x1 - x0)) ** 2 + (y + 0.5 - y0 - t * (y1 - y0)) ** 2;
        if (far <= reach) begin ??= x;
        else if (begin !== null) { set(y, begin, x); begin = null; }
      }
      if (begin !== null) set(y, begin, right + 1);
    }
    set(Math.floor(y1), Math.floor(x1), Math.floor(x1) + 1);
  };
}

// ----------------------------------------------------------------------------------------------------------- label maps

// Runs of a map in row order: label, length, label, length ...; each number in groups of 7 bits, lowest first; base64.
export function encodeRuns(labels) {
  let bytes = new Uint8Array(1 << 16), used = 0;
  const put = (number) => {
    if (used + 6 > bytes.length) { const more = new Uint8Array(bytes.length * 2); more.set(bytes); bytes = more; }
    while (number > 127) { bytes[used++] = (number & 127) | 128; number >>>= 7; }
    bytes[used++] = number;
  };
  for (let start = 0, i = 1; i <= labels.length; i++) {
    if (i === labels.length || labels[i] !== labels[start]) { put(labels[start]); put(i - start); start = i; }
  }
  let text = "";
  for (let at = 0; at < used; at += 8192) text += String.fromCharCode(...bytes.subarray(at, Math.min(used, at + 8192)));
  return btoa(text);
}

export function decodeRuns(runs, count) {
  const text = atob(runs), labels = new Uint8Array(count), numbers = [];
  for (let i = 0, number = 0, shift = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    number += (byte & 127) * 2 ** shift;
    if (byte & 128) shift += 7;
    else { numbers.push(number); number = 0; shift = 0; }
  }
  for (let i = 0, at = 0; i < numbers.length; i += 2) { labels.fill(numbers[i], at, at + numbers[i + 1]); at += numbers[i + 1]; }
  return labels;
}

function cut(labels, width, [x0, y0, x1, y1]) {
  const runs = [];
  for (let y = y0; y < y1; y++) {
    for (let x = x0, at = y * width + x0; x < x1; x++, at++) {
      if (runs.length && runs.at(-2) === labels[at]) runs[runs.length - 1] += 1;
      else runs.push(labels[at], 1);
    }
  }
  return Uint32Array.from(runs);
}

function paste(labels, width, [x0, y0, x1, y1], runs) {
  let run = 0, left = runs[1];
  for (let y = y0; y < y1; y++) {
    for (let x = x0, at = y * width + x0; x < x1; x++, at++) {
      if (!left) { run += 2; left = runs[run + 1]; }
      labels[at] = runs[run];
      left -= 1;
    }
  }
}

// Paint a part of a map on a canvas: see-through inside, full at the edges.
function paintMap(canvas, labels, width, height, step, colours, [x0, y0, x1, y1], opacity) {
  const left = Math.max(0, Math.floor(x0 / step) - 1), top = Math.max(0, Math.floor(y0 / step) - 1);
  const right = Math.min(canvas.width, Math.ceil(x1 / step) + 1), bottom = Math.min(canvas.height, Math.ceil(y1 / step) + 1);
  if (left >= right || top >= bottom) return;
  const image = new ImageData(right - left, bottom - top), words = new Uint32Array(image.data.buffer);
  const inks = colours.map((colour) => {
    if (!colour) return 0;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return (blue << 16) | (green << 8) | red;
  });
  for (let y = top, word = 0; y < bottom; y++) {
    const row = Math.min(y * step, height - 1) * width;
    const above = y > 0 ? row - step * width : row, below = (y + 1) * step < height ? row + step * width : row;
    for (let x = left; x < right; x++, word++) {
      const at = x * step, label = labels[row + at];
      if (!label) continue;
      const edge = label !== labels[above + at] || label !== labels[below + at] ||
        (at >= step && label !== labels[row + at - step]) || (at + step < width && label !== labels[row + at + step]);
      words[word] = (inks[label] | ((edge ? 255 : opacity) << 24)) >>> 0;
    }
  }
  canvas.getContext("2d").putImageData(image, left, top);
}

function makeCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function dot(context, [x, y], radius, colour, sign = "") {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#000";
  context.stroke();
  if (!sign) return;
  context.fillStyle = "#000";
  context.font = "bold 11px sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(sign, x, y + 0.5);
}

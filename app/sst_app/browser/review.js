// A queue of masks to review by keyboard: A accepts, X rejects, and the next one is shown at once.
//
// Decisions are kept here until Python says that it has taken them: none is lost, however fast the keys come, and each
// is about the mask that was on the screen.
//
// data: items [{id, seen, size [height, width], path, colour, image (URL or data URI), label}], the masks in order.
//       applied: serial number of the last decision that Python has taken.
//       enabled: whether decisions may be made; why: what stands in the way.
//       total: number of masks in the queue.
// state: decisions [{serial, id, seen, decision}].
const SVG = "http://www.w3.org/2000/svg";
const WORDS = { accept: "accepted", reject: "rejected" };

export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".review");
  const desk = (root._desk ??= new Desk(root));
  desk.update(data, setStateValue);
  return () => desk.detach();
}

class Desk {
  constructor(root) {
    this.root = root;
    this.pending = [];
    this.serial = 0;
    this.onKey = (event) => this.key(event);
  }

  update(data, setStateValue) {
    if (!this.attached) { window.addEventListener("keydown", this.onKey, true); this.attached = true; }
    this.data = data;
    this.setState = setStateValue;
    this.serial = Math.max(this.serial, data.applied);
    this.pending = this.pending.filter((each) => each.serial > data.applied);
    // A mask that was decided on and is in the queue again was taken back.
    if (!this.pending.length && data.items.some((item) => item.id === this.lastId)) this.last = this.lastId = null;
    for (const item of data.items.slice(0, 4)) { const ahead = new Image(); ahead.src = locate(item.image); }
    this.show();
  }

  detach() { window.removeEventListener("keydown", this.onKey, true); this.attached = false; }

  current() { return this.data.items.find((item) => !this.pending.some((each) => each.id === item.id && each.seen === item.seen)); }

  decide(decision) {
    const item = this.current();
    if (!item || !this.data.enabled) return;
    this.serial += 1;
    this.pending.push({ serial: this.serial, id: item.id, seen: item.seen, decision });
    this.last = `${item.label} ${WORDS[decision]}`;
    this.lastId = item.id;
    this.root.dataset.decided = this.serial;
    this.setState("decisions", this.pending);
    this.show();
  }

  key(event) {
    const target = event.composedPath()[0];
    if (target.matches?.("textarea, select, input:not([type=range]), [contenteditable=true], [role='combobox'], [role='listbox']")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const decision = { a: "accept", x: "reject" }[event.key.toLowerCase()];
    if (!decision) return;
    event.preventDefault();
    event.stopPropagation();
    this.decide(decision);
  }

  show() {
    const item = this.current();
    this.root.dataset.pending = this.pending.length;
    const text = item ? `${item.id} ${item.seen} ${item.image.length}` : "";
    if (text !== this.shown) { this.shown = text; this.root.replaceChildren(item ? draw(item) : message("The next masks are being fetched ...")); this.note = null; }
    if (!this.note) { this.note = document.createElement("div"); this.note.className = "note"; this.note.setAttribute("role", "status"); this.root.append(this.note); }
    const left = this.data.total - this.pending.length;
    this.note.textContent = `${left.toLocaleString("en")} left. ${this.data.enabled ? "Keys: A accept, X reject." : this.data.why}${this.last ? ` Last: ${this.last}.` : ""}`;
  }
}

function draw(item) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${item.size[1]} ${item.size[0]}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", item.label);
  const image = document.createElementNS(SVG, "image");
  image.setAttribute("href", locate(item.image));
  image.setAttribute("width", item.size[1]);
  image.setAttribute("height", item.size[0]);
  picture.append(image);
  for (const kind of ["halo", "line"]) {
    if (!item.path) break;
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("class", kind);
    line.setAttribute("d", item.path);
    line.setAttribute("fill-rule", "evenodd");
    line.style.setProperty("--colour", item.colour);
    picture.append(line);
  }
  const name = document.createElement("div");
  name.className = "name";
  name.textContent = item.path ? item.label : `${item.label}: not found here`;
  const all = document.createElement("div");
  all.append(picture, name);
  return all;
}

function message(text) {
  const line = document.createElement("div");
  line.className = "waiting";
  line.textContent = text;
  return line;
}

function locate(image) {
  return image.startsWith("data:") ? image : new URL(image.replace(/^\//, ""), document.baseURI).href;
}

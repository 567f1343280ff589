// The hits as a light table: tiles whose picture asks with it, with a check box to compare, examples and details.
//
// One component for all tiles: as widgets of Streamlit they were some 150 elements, each sent and drawn for itself.
//
// data: across (tiles in a row), shape (aspect ratio of a picture), small, examples (whether tiles have their buttons),
//       traits (that are compared), hints {like, unlike}.
//       tiles [{id, trait, name, lines, similarity, confidence, pictures, bars [{block, short, value, colour}], ticked}].
//       done {mount, number}: the acts that Python has taken.
// trigger: acts {mount, acts [[number, kind, individual, trait, traits]]}: all that Python has not yet taken, so that none
//          is lost however fast they come. kind is ask, tick, untick, like, unlike or details.
const THUMB = "M3 11h4v10H3zM9 11l4-8c2 0 3 1 3 3l-1 4h5c1.5 0 2.2 1 2 2l-1.6 7c-.3 1-1 2-2 2H9z";

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".hits");
  const table = (root._table ??= new LightTable(root));
  table.update(data, setTriggerValue);
  return () => table.detach();
}

class LightTable {
  constructor(root) {
    this.root = root;
    this.mount = Math.random().toString(36).slice(2);
    this.number = 0;
    this.acts = [];
    root.addEventListener("click", (event) => this.click(event));
    root.addEventListener("pointerdown", () => { this.held = true; });
    this.onRelease = () => { if (this.held) setTimeout(() => { this.held = false; if (this.waiting) this.draw(); }); };
  }

  update(data, setTriggerValue) {
    if (!this.attached) for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, this.onRelease, true);
    this.attached = true;
    this.send = setTriggerValue;
    this.data = data;
    if (data.done && data.done.mount === this.mount) this.acts = this.acts.filter(([number]) => number > data.done.number);
    // A tile that is exchanged between press and release gets no click.
    if (this.held) this.waiting = true;
    else this.draw();
  }

  detach() {
    for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, this.onRelease, true);
    this.attached = this.held = false;
  }

  click(event) {
    const there = event.target.closest("[data-act]");
    if (!there) return;
    const { id, trait } = there.closest(".tile").dataset;
    const kind = there.dataset.act === "tick" && !there.checked ? "untick" : there.dataset.act;
    this.number += 1;
    this.acts.push([this.number, kind, id, trait, this.data.traits]);
    this.send("acts", { mount: this.mount, acts: this.acts });
  }

  draw() {
    this.waiting = false;
    const { data } = this, text = JSON.stringify({ ...data, done: null });
    if (this.text !== text) {
      this.text = text;
      const focus = this.root.contains(document.activeElement) ? document.activeElement : null;
      const at = focus && [focus.closest(".tile").dataset.id, focus.dataset.act];
      this.root.style.setProperty("--across", data.across);
      this.root.style.setProperty("--least", data.small ? "92px" : "134px");
      this.root.replaceChildren(...data.tiles.map((tile) => makeTile(tile, data)));
      const tile = at && [...this.root.children].find((each) => each.dataset.id === at[0]);
      tile?.querySelector(`[data-act="${at[1]}"]`)?.focus({ preventScroll: true });
    }
    for (const tile of this.root.children) {
      const last = this.acts.findLast(([, kind, id]) => id === tile.dataset.id && kind.endsWith("tick"));
      const hit = data.tiles.find((each) => each.id === tile.dataset.id);
      tile.querySelector('[data-act="tick"]').checked = last ? last[1] === "tick" : hit.ticked;
    }
  }
}

function make(kind, name, text, about = {}) {
  const element = document.createElement(kind);
  if (name) element.className = name;
  if (text) element.textContent = text;
  for (const [key, value] of Object.entries(about)) element.setAttribute(key, value);
  return element;
}

function makeTile(hit, data) {
  const tile = make("div", "tile", "", { "data-id": hit.id, "data-trait": hit.trait });
  const ask = make("button", "ask", "", { type: "button", "data-act": "ask", "aria-label": `Ask with ${hit.trait} of ${hit.id}`, title: `Ask with ${hit.trait} of ${hit.id}` });
  for (const picture of hit.pictures) {
    const image = make("img", "well", "", { src: picture, alt: `${hit.trait} of ${hit.id}`, draggable: "false" });
    image.style.cssText = `width:${100 / hit.pictures.length}%;aspect-ratio:${data.shape}`;
    ask.append(image);
  }
  tile.append(ask, make("div", "tile-name", hit.name, { title: hit.id }));
  for (const line of hit.lines) tile.append(make("div", "tile-line", line, { title: line }));
  const two = make("div", "tile-line two");
  const similarity = make("span", "", "", { title: "similarity, 0 to 1" });
  similarity.append(make("b", "", hit.similarity));
  two.append(similarity, make("span", "", hit.confidence, { title: "confidence of the mask" }));
  const bars = make("div", data.small ? "bars narrow" : "bars");
  for (const { block, short, value, colour } of hit.bars) {
    const groove = make("span", "groove"), bar = make("span", "bar");
    bar.style.cssText = `width:${Math.max(2, 100 * Math.max(0, value))}%;background:${colour}`;
    groove.append(bar);
    bars.append(make("span", "", short, { title: block }), groove, make("span", "", value.toFixed(2)));
  }
  const row = make("div", "acts"), label = make("label", "tick", "", { title: "Tick to compare side by side" });
  label.append(make("input", "", "", { type: "checkbox", "data-act": "tick", "aria-label": `compare ${hit.id}` }));
  row.append(label);
  for (const kind of data.examples ? ["like", "unlike"] : []) {
    const button = make("button", kind, "", { type: "button", "data-act": kind, title: `${data.hints[kind]} (${hit.id})`, "aria-label": `${data.hints[kind]} (${hit.id})` });
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${THUMB}"/></svg>`;
    row.append(button);
  }
  row.append(make("button", "details", "Details", { type: "button", "data-act": "details", title: `The whole of ${hit.id}, and what is known` }));
  tile.append(two, bars, row);
  return tile;
}

// A photograph with the outlines of its traits: the outline under the cursor is the trait; Tab and Enter do it as well.
const SVG = "http://www.w3.org/2000/svg";
const DRAG = 4; // Screen pixels.

export default function ({ parentElement, data, setTriggerValue }) {
  const place = parentElement.querySelector(".specimen");
  place.replaceChildren();
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${data.width} ${data.height}`);
  picture.setAttribute("role", "group");
  if (!data.clickable) picture.setAttribute("class", "still");
  picture.setAttribute("aria-label", data.label);
  const image = document.createElementNS(SVG, "image");
  image.setAttribute("href", data.image);
  image.setAttribute("width", data.width);
  image.setAttribute("height", data.height);
  picture.append(image);
  const name = document.createElement("div");
  name.className = "name";
  const chosen = data.traits.find((trait) => trait.chosen);
  const say = (trait) => { name.textContent = trait ? trait.note : data.hint; };
  for (const trait of data.traits) {
    if (!trait.path) continue;
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", trait.chosen ? "trait chosen" : "trait");
    group.style.setProperty("--colour", trait.colour);
    for (const kind of ["halo", "line"]) {
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", kind);
      line.setAttribute("d", trait.path);
      line.setAttribute("fill-rule", "evenodd");
      group.append(line);
    }
    if (trait.mark) {
      const [words, x, y] = trait.mark, mark = document.createElementNS(SVG, "text");
      mark.setAttribute("class", "mark");
      mark.setAttribute("x", x);
      mark.setAttribute("y", y);
      mark.setAttribute("font-size", Math.max(data.width, data.height) / 32);
      mark.textContent = words;
      group.append(mark);
    }
    if (data.clickable) {
      const choose = () => setTriggerValue("trait", trait.name);
      group.setAttribute("tabindex", "0");
      group.setAttribute("role", "button");
      group.setAttribute("aria-label", trait.note);
      group.addEventListener("click", choose);
      group.addEventListener("keydown", (key) => {
        if (key.key === "Enter" || key.key === " ") { key.preventDefault(); choose(); }
      });
    }
    for (const event of ["mouseenter", "focus"]) group.addEventListener(event, () => say(trait));
    for (const event of ["mouseleave", "blur"]) group.addEventListener(event, () => say(chosen));
    picture.append(group);
  }
  say(chosen);
  place.append(picture, name);
  if (data.zoomable) makeZoomable(picture, place, data);
}

// Wheel and buttons zoom, dragging moves; the view stays while the same photograph is shown.
function makeZoomable(picture, place, data) {
  const whole = { x: 0, y: 0, width: data.width, height: data.height };
  let view = place._image === data.image.length + data.label ? place._view : { ...whole };
  place._image = data.image.length + data.label;
  const isWhole = () => view.width >= data.width;
  const apply = () => {
    place._view = view;
    picture.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    picture.style.touchAction = isWhole() ? "pan-y" : "none"; // A finger scrolls the page until somebody has zoomed.
  };
  const pixel = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    return [at.x, at.y];
  };
  const zoom = (factor, at = [view.x + view.width / 2, view.y + view.height / 2]) => {
    const width = Math.min(data.width, Math.max(data.width / 30, view.width / factor)), ratio = width / view.width;
    view = { x: at[0] - (at[0] - view.x) * ratio, y: at[1] - (at[1] - view.y) * ratio, width, height: view.height * ratio };
    if (width === data.width) view = { ...whole };
    apply();
  };
  picture.addEventListener("wheel", (event) => { if (event.deltaY > 0 && isWhole()) return; event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), pixel(event)); }, { passive: false });
  let last = null, from = null, moved = false;
  picture.addEventListener("pointerdown", (event) => { last = pixel(event); from = [event.clientX, event.clientY]; moved = false; });
  picture.addEventListener("pointermove", (event) => {
    if (!last) return;
    if (!moved && Math.hypot(event.clientX - from[0], event.clientY - from[1]) < DRAG) return;
    // Captured now and not before: a click without a drag is for the trait below it.
    if (!moved) picture.setPointerCapture(event.pointerId);
    moved = true;
    const at = pixel(event);
    view = { ...view, x: view.x + last[0] - at[0], y: view.y + last[1] - at[1] };
    apply();
  });
  for (const event of ["pointerup", "pointercancel"]) picture.addEventListener(event, () => { last = null; });
  picture.addEventListener("click", (event) => { if (moved) event.stopPropagation(); moved = false; }, true);
  const bar = document.createElement("div");
  bar.className = "zoom";
  for (const [sign, label, act] of [["\u2212", "Zoom out", () => zoom(1 / 1.5)], ["Fit", "Show the whole photograph", () => { view = { ...whole }; apply(); }], ["+", "Zoom in", () => zoom(1.5)]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.setAttribute("aria-label", label);
    button.onclick = act;
    bar.append(button);
  }
  place.append(bar);
  apply();
}

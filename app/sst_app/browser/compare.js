// Pictures side by side with one common view: wheel, buttons and dragging zoom and move all of them together.
//
// data: pictures [{image (data URI), label, note}], all drawn at one scale. key "zoom" is not sent to Python.
export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".compare");
  const view = (root._view ??= { scale: 1, x: 0, y: 0 });
  const text = JSON.stringify(data.pictures.map((each) => [each.label, each.image.length, each.note]));
  if (root._text === text) return;
  root._text = text;
  root.replaceChildren();
  const bar = document.createElement("div");
  bar.className = "bar";
  const images = [];
  const apply = () => { for (const image of images) image.style.transform = `translate(${view.x * 100}%, ${view.y * 100}%) scale(${view.scale})`; };
  // x and y are shares of a picture's side, so that pictures of any width on the screen move alike.
  const zoom = (factor, at = [0.5, 0.5]) => {
    const scale = Math.min(12, Math.max(1, view.scale * factor)), ratio = scale / view.scale;
    view.x = at[0] - (at[0] - view.x) * ratio;
    view.y = at[1] - (at[1] - view.y) * ratio;
    view.scale = scale;
    if (scale === 1) view.x = view.y = 0;
    apply();
  };
  const add = (label, name, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", name);
    button.onclick = act;
    bar.append(button);
  };
  add("\u2212", "Zoom all out", () => zoom(1 / 1.5));
  add("Fit", "Show all pictures whole", () => { Object.assign(view, { scale: 1, x: 0, y: 0 }); apply(); });
  add("+", "Zoom all in", () => zoom(1.5));
  const row = document.createElement("div");
  row.className = "row";
  for (const each of data.pictures) {
    const figure = document.createElement("figure"), frame = document.createElement("div");
    frame.className = "frame";
    const image = document.createElement("img");
    image.src = each.image;
    image.alt = each.label;
    image.draggable = false;
    images.push(image);
    frame.append(image);
    const caption = document.createElement("figcaption");
    caption.textContent = each.note;
    figure.append(frame, caption);
    row.append(figure);
    const share = (event) => { const box = frame.getBoundingClientRect(); return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]; };
    frame.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), share(event)); }, { passive: false });
    let last = null;
    frame.onpointerdown = (event) => { last = share(event); frame.setPointerCapture(event.pointerId); };
    frame.onpointermove = (event) => {
      if (!last || view.scale === 1) return;
      const at = share(event);
      view.x += at[0] - last[0];
      view.y += at[1] - last[1];
      last = at;
      apply();
    };
    frame.onpointerup = frame.onpointercancel = () => { last = null; };
  }
  root.append(bar, row);
  apply();
}

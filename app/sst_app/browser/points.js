// A scatter of specimens: the one under the cursor shows its picture, a line drawn around some chooses them.
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A7A00", "#555555"];
const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 7),
  (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (c, x, y, r) => { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.1, y + r * 0.9); c.lineTo(x - r * 1.1, y + r * 0.9); c.closePath(); },
  (c, x, y, r) => { c.moveTo(x, y - r * 1.3); c.lineTo(x + r * 1.3, y); c.lineTo(x, y + r * 1.3); c.lineTo(x - r * 1.3, y); c.closePath(); },
];

export default function ({ parentElement, data, setStateValue, setTriggerValue }) {
  const root = parentElement.querySelector(".points");
  const known = root._points && root._points.text === data.points ? root._points : { text: data.points, read: JSON.parse(data.points) };
  root._points = known;
  data = { ...data, ...known.read };
  const canvas = root.querySelector("canvas");
  const tip = root.querySelector(".tip");
  root._data = data;
  const shown = tip.dataset.specimen;
  if (shown && data.hover && data.hover.specimen === shown) fill(tip, data.hover);
  if (root._version === data.version) return;
  root._version = data.version;

  const width = root.clientWidth || 800, height = data.height, margin = 42, zoom = window.devicePixelRatio || 1;
  canvas.width = width * zoom; canvas.height = height * zoom;
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  const [x0, x1] = span(data.x), [y0, y1] = span(data.y);
  const xs = data.x.map((v) => margin + (v - x0) / (x1 - x0) * (width - 1.5 * margin));
  const ys = data.y.map((v) => height - margin - (v - y0) / (y1 - y0) * (height - 1.5 * margin));
  const size = data.x.length > 5000 ? 2.2 : data.x.length > 500 ? 3.5 : 6;
  let lasso = null, chosen = new Set(data.chosen || []), last = -1, timer = null;

  function draw() {
    context.setTransform(zoom, 0, 0, zoom, 0, 0);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = "#B9B9B4"; context.strokeRect(margin, height * 0 + margin / 2, width - 1.5 * margin, height - 1.5 * margin);
    context.fillStyle = "#4A4A4A"; context.font = "13px sans-serif"; context.textAlign = "center";
    context.fillText(data.axes[0], width / 2, height - 12);
    context.save(); context.translate(14, height / 2); context.rotate(-Math.PI / 2); context.fillText(data.axes[1], 0, 0); context.restore();
    for (let i = 0; i < xs.length; i++) {
      context.beginPath();
      const kind = data.kind[i];
      SHAPES[data.ramp ? 0 : (kind + Math.floor(kind / COLOURS.length)) % SHAPES.length](context, xs[i], ys[i], size);
      context.fillStyle = data.ramp ? ramp(data.shade[i]) : COLOURS[kind % COLOURS.length];
      context.globalAlpha = chosen.size && !chosen.has(i) ? 0.2 : 0.85;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = chosen.has(i) || i === last ? 2.5 : 0.8; context.strokeStyle = chosen.has(i) || i === last ? "#000" : "#3A3A3A";
      context.stroke();
    }
    if (lasso) {
      context.beginPath(); lasso.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath(); context.fillStyle = "rgba(0,114,178,0.12)"; context.fill();
      context.strokeStyle = "#0072B2"; context.lineWidth = 1.5; context.stroke();
    }
  }
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  function nearest(x, y) {
    let best = -1, least = 144;
    for (let i = 0; i < xs.length; i++) { const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2; if (d < least) { least = d; best = i; } }
    return best;
  }
  canvas.onpointerdown = (event) => { lasso = [at(event)]; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = (event) => {
    const [x, y] = at(event);
    if (lasso) { lasso.push([x, y]); draw(); return; }
    const i = nearest(x, y);
    if (i === last) return;
    last = i; draw();
    tip.style.display = i < 0 ? "none" : "block";
    if (i < 0) { tip.dataset.specimen = ""; return; }
    tip.style.left = `${xs[i] > width / 2 ? xs[i] - 200 : xs[i] + 14}px`; tip.style.top = `${Math.min(Math.max(0, ys[i] - 60), height - 190)}px`;
    tip.dataset.specimen = data.names[i];
    fill(tip, { specimen: data.names[i], note: data.notes.length ? `${data.names[i]}: ${data.notes[i]}` : data.names[i], image: (data.pictures || {})[data.names[i]] });
    clearTimeout(timer);
    if (!(data.pictures || {})[data.names[i]]) timer = setTimeout(() => setStateValue("hover", data.names[i]), 120);
  };
  canvas.onpointerleave = () => { if (!lasso) { last = -1; tip.style.display = "none"; draw(); } };
  canvas.onpointerup = (event) => {
    const outline = lasso; lasso = null;
    if (!outline) return;
    const [x, y] = at(event);
    const wide = outline.some(([a, b]) => Math.hypot(a - outline[0][0], b - outline[0][1]) > 8);
    const one = nearest(x, y);
    const found = wide ? xs.map((_, i) => i).filter((i) => inside(xs[i], ys[i], outline)) : one < 0 ? [] : [one];
    chosen = new Set(found); draw();
    setTriggerValue("chosen", found);
  };
  draw();
}

function fill(tip, about) {
  tip.replaceChildren();
  if (about.image) { const image = document.createElement("img"); image.src = about.image; image.alt = about.specimen; tip.append(image); }
  const name = document.createElement("div");
  name.textContent = about.note;
  tip.append(name);
}
function span(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  const air = (high - low || 1) * 0.04;
  return [low - air, high + air];
}
function inside(x, y, outline) {
  let within = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [a, b] = outline[i], [c, d] = outline[j];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) within = !within;
  }
  return within;
}
// Viridis in five steps: dark to light, and told apart by colour-blind eyes.
function ramp(t) {
  const steps = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  if (t === null) return "#8A8A8A";
  const at = Math.min(3.999, Math.max(0, t * 4)), i = Math.floor(at), f = at - i;
  return `rgb(${steps[i].map((v, k) => Math.round(v + (steps[i + 1][k] - v) * f)).join(",")})`;
}

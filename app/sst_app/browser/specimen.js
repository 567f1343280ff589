// A photograph with the outlines of its traits: the outline under the cursor is the trait; Tab and Enter do it as well.
const SVG = "http://www.w3.org/2000/svg";

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
}

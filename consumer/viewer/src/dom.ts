/** Elements, made by name; text is text and never markup. */

type Children = (Node | string)[];

/** An element with attributes (those that are undefined left out) and children. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string | boolean | undefined> = {},
  ...children: Children
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A button that does something. */
export function button(label: string, act: () => void, attributes: Record<string, string | undefined> = {}): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", act);
  return made;
}

/** Mark one of a group of buttons as pressed. */
export function press(buttons: Iterable<HTMLElement>, pressed: HTMLElement | undefined): void {
  for (const one of buttons) one.setAttribute("aria-pressed", String(one === pressed));
}

/** One line for each text that says something. */
export function lines(of: HTMLElement, texts: (string | false | undefined)[]): void {
  const told = texts.filter((one): one is string => Boolean(one));
  of.replaceChildren(...told.flatMap((one, k) => (k ? [element("br"), one] : [one])));
}

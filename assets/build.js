// Makes elements.

/** An element with properties and children. */
export function build(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A button that sends no form. */
export const button = (textContent, properties) => build('button', { type: 'button', textContent, ...properties });

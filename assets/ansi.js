// Output as a terminal would read it, for lines instead of a screen: colours and styles become classes, `\r`, `\b` and
// "erase the line" work within a line, and every other sequence is left out. Everything that comes from a job ends as the
// text of text nodes, never as markup.

// Longer lines go on in rows of their own: one row of a megabyte would stop the browser.
const ROW_MAX = 4000;
// A sequence that is longer without an end is none.
const SEQUENCE_MAX = 256;

const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
const STRING_END = /[\x07\x0a\x1b\x9c]/g;
const CSI = /\x1b\[([0-?]*)[ -/]*([@-~])/y;
const CSI_BEGUN = /^\x1b(\[[0-?]*[ -/]*)?$/;
// Marks that turn the order of characters around, or that can't be seen: shown by their number.
const HIDDEN = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const mark = (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;

/** Reads one stream. `newRow(isContinued)` gives the row that text goes into; `changed(row)` hears what became of it. */
export class Reader {
  constructor({ newRow, changed, ended }) {
    Object.assign(this, { newRow, changed, ended });
    this.row = null;
    this.column = 0;
    this.rest = '';
    this.inString = false;
    this.style = new Style();
  }

  write(text) {
    text = this.rest + text;
    this.rest = '';
    let at = 0;
    while (at < text.length) {
      // A line begins with its first byte, whatever that is: so the server counts them.
      this.row ??= this.newRow(false);
      if (this.inString) {
        at = this.skipString(text, at);
        continue;
      }
      CONTROL.lastIndex = at;
      const end = CONTROL.exec(text)?.index ?? text.length;
      if (end > at) this.put(text.slice(at, end));
      at = end < text.length ? this.control(text, end) : end;
    }
  }

  // Reads the control character at `at`; gives where to go on.
  control(text, at) {
    switch (text.charCodeAt(at)) {
      case 10:
        this.endLine();
        break;
      case 13:
        this.column = 0;
        break;
      case 8:
        this.column = Math.max(0, this.column - 1);
        break;
      case 27:
        return this.escape(text, at);
    }
    return at + 1;
  }

  escape(text, at) {
    CSI.lastIndex = at;
    const csi = CSI.exec(text);
    if (csi) {
      this.csi(csi[1], csi[2]);
      return CSI.lastIndex;
    }
    const rest = text.slice(at, at + SEQUENCE_MAX);
    if (CSI_BEGUN.test(rest) && rest.length < SEQUENCE_MAX) {
      this.rest = rest;
      return text.length;
    }
    const next = text[at + 1];
    if (next === ']' || next === 'P' || next === 'X' || next === '^' || next === '_') {
      this.inString = true;
      return at + 2;
    }
    if (next === '(' || next === ')' || next === '#' || next === '%') return at + 3;
    // The line's end is no part of a sequence.
    return next === '\n' ? at + 1 : at + 2;
  }

  // A title, a link, a picture: left out up to its end, or the line's: one that never ends must not hide the output.
  skipString(text, at) {
    STRING_END.lastIndex = at;
    const end = STRING_END.exec(text);
    if (!end) return text.length;
    this.inString = false;
    // An ESC begins the string's end, or something else; a line's end counts.
    return end[0] === '\x1b' || end[0] === '\n' ? end.index : end.index + 1;
  }

  csi(params, final) {
    if (final === 'm') this.style.set(params);
    else if (final === 'K') this.erase(params);
    else if (final === 'G') this.column = Math.min(this.row.length, Math.max(0, (parseInt(params, 10) || 1) - 1));
  }

  erase(params) {
    if (params === '2') this.row.cut(0);
    else if (params === '' || params === '0') this.row.cut(this.column);
    this.column = Math.min(this.column, this.row.length);
    this.changed(this.row);
  }

  put(text) {
    text = text.replace(HIDDEN, mark);
    while (this.column + text.length > ROW_MAX) {
      const room = Math.max(0, ROW_MAX - this.column);
      this.row.write(this.column, text.slice(0, room), this.style.classes);
      this.changed(this.row);
      text = text.slice(room);
      this.row = this.newRow(true);
      this.column = 0;
    }
    this.row.write(this.column, text, this.style.classes);
    this.column += text.length;
    this.changed(this.row);
  }

  endLine() {
    this.row.hasEnded = true;
    this.ended(this.row);
    this.row = null;
    this.column = 0;
  }

  /** What comes next does not go on where the last row is; true where that one's line had no end. */
  break() {
    const wasOpen = Boolean(this.row);
    this.row = null;
    this.column = 0;
    this.rest = '';
    this.inString = false;
    return wasOpen;
  }
}

/** A row of output: pieces of text, each with its classes. */
export class Row {
  constructor(stream, number) {
    this.stream = stream;
    this.number = number;
    this.at = 0;
    this.pieces = [];
    this.length = 0;
    this.element = null;
    this.hasEnded = false;
  }

  get text() {
    return this.pieces.map((piece) => piece.text).join('');
  }

  write(column, text, classes) {
    if (column < this.length) {
      const after = this.slice(column + text.length, this.length);
      this.cut(column);
      this.append(text, classes);
      for (const piece of after) this.append(piece.text, piece.classes);
    } else {
      if (column > this.length) this.append(' '.repeat(column - this.length), '');
      this.append(text, classes);
    }
  }

  append(text, classes) {
    if (!text) return;
    const last = this.pieces.at(-1);
    if (last && last.classes === classes) last.text += text;
    else this.pieces.push({ text, classes });
    this.length += text.length;
  }

  cut(column) {
    this.pieces = this.slice(0, column);
    this.length = Math.min(this.length, column);
  }

  slice(from, to) {
    const pieces = [];
    let at = 0;
    for (const piece of this.pieces) {
      const text = piece.text.slice(Math.max(0, from - at), Math.max(0, to - at));
      if (text) pieces.push({ text, classes: piece.classes });
      at += piece.text.length;
    }
    return pieces;
  }
}

/** Colours and styles that SGR sequences set, as class names. */
class Style {
  constructor() {
    this.reset();
  }

  reset() {
    this.fore = this.back = null;
    this.flags = { bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false };
    this.classes = '';
  }

  set(params) {
    // Some write `38:2::r:g:b`, most `38;2;r;g;b`.
    const codes = params.replace(/(38|48):2:\d*:(\d+:\d+:\d+)/g, '$1:2:$2').split(/[;:]/).map(Number);
    for (let i = 0; i < codes.length; i += 1) {
      const code = codes[i];
      if (code === 38 || code === 48) {
        const [colour, used] = extended(codes, i + 1);
        this[code === 38 ? 'fore' : 'back'] = colour;
        i += used;
      } else this.setOne(code);
    }
    this.classes = this.name();
  }

  setOne(code) {
    const flags = this.flags;
    if (code === 0) this.reset();
    else if (code === 1) flags.bold = true;
    else if (code === 2) flags.dim = true;
    else if (code === 3) flags.italic = true;
    else if (code === 4) flags.underline = true;
    else if (code === 7) flags.inverse = true;
    else if (code === 9) flags.strike = true;
    else if (code === 22) flags.bold = flags.dim = false;
    else if (code === 23) flags.italic = false;
    else if (code === 24) flags.underline = false;
    else if (code === 27) flags.inverse = false;
    else if (code === 29) flags.strike = false;
    else if (code >= 30 && code <= 37) this.fore = code - 30;
    else if (code === 39) this.fore = null;
    else if (code >= 40 && code <= 47) this.back = code - 40;
    else if (code === 49) this.back = null;
    else if (code >= 90 && code <= 97) this.fore = code - 82;
    else if (code >= 100 && code <= 107) this.back = code - 92;
  }

  name() {
    const names = Object.keys(this.flags).filter((flag) => this.flags[flag] && flag !== 'inverse');
    let { fore, back } = this;
    if (this.flags.inverse) {
      if (fore === null && back === null) names.push('inverse');
      [fore, back] = [back ?? (fore === null ? null : -1), fore];
    }
    if (back !== null && back >= 0) {
      // On a background of the job's choosing the text has the job's colour, or black or white, whichever can be read.
      names.push(`b${back}`, `t${fore === null || fore < 0 ? contrasting(back) : fore}`);
      need(back), need(fore ?? contrasting(back));
    } else if (fore !== null && fore >= 0) {
      names.push(`f${fore}`);
      need(fore);
    }
    return names.join(' ');
  }
}

// The colour after a 38 or 48: `5;n`, or `2;r;g;b` as the nearest of the 256. Gives it and how many codes it took.
function extended(codes, at) {
  if (codes[at] === 5) return [(codes[at + 1] ?? 0) & 255, 2];
  if (codes[at] !== 2) return [null, 0];
  const [red, green, blue] = [1, 2, 3].map((i) => Math.min(255, codes[at + i] || 0));
  return [nearest(red, green, blue), 4];
}

const STEPS = [0, 95, 135, 175, 215, 255];
const nearestStep = (value) => STEPS.reduce((best, step, i) => (Math.abs(step - value) < Math.abs(STEPS[best] - value) ? i : best), 0);

function nearest(red, green, blue) {
  const spread = Math.max(red, green, blue) - Math.min(red, green, blue);
  const grey = Math.round((red + green + blue) / 3);
  if (spread < 10 && grey > 4 && grey < 243) return 232 + Math.max(0, Math.min(23, Math.round((grey - 8) / 10)));
  return 16 + 36 * nearestStep(red) + 6 * nearestStep(green) + nearestStep(blue);
}

const BASE = ['000000', 'c62828', '2e7d32', '9a6700', '1d5fd0', '9c27b0', '00838f', 'bdbdbd',
  '757575', 'e53935', '43a047', 'c79100', '4285f4', 'ba68c8', '00acc1', 'ffffff'];

export function rgb(colour) {
  if (colour < 16) return BASE[colour].match(/../g).map((hex) => parseInt(hex, 16));
  if (colour >= 232) return Array(3).fill(8 + (colour - 232) * 10);
  const n = colour - 16;
  return [STEPS[Math.floor(n / 36)], STEPS[Math.floor(n / 6) % 6], STEPS[n % 6]];
}

function contrasting(colour) {
  const [red, green, blue] = rgb(colour).map((value) => (value / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? 0 : 15;
}

// The classes of a colour, made when it is first used: at most 256 times three rules. As text on the page's own
// background its lightness is bounded (`--readable`), so that it can be read in both themes.
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets.push(sheet);
const made = new Set();

function need(colour) {
  if (colour < 0 || made.has(colour)) return;
  made.add(colour);
  const value = `rgb(${rgb(colour).join(' ')})`;
  sheet.insertRule(`.f${colour}{color:oklch(from ${value} var(--readable) c h)}`);
  sheet.insertRule(`.t${colour}{color:${value}}`);
  sheet.insertRule(`.b${colour}{background:${value}}`);
}

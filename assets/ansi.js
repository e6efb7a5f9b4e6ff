// Parses output like a terminal, for lines instead of a screen: colours and styles become classes,
// the cursor moves within its line, and all other sequences are dropped (src/terminal follows the
// same rules). A job's output only ever becomes the text of text nodes, never markup. One file,
// because the row and the parser share their cells.

// Longer lines are split into several rows: one row of a megabyte would block the browser.
const ROW_MAX = 4000;
// A sequence that is longer than this without an end is dropped.
const SEQUENCE_MAX = 256;

const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
const STRING_END = /[\x07\x0a\x1b\x9c]/g;
const CSI = /\x1b\[([0-?]*)([ -/]*)([@-~])/y;
// Of a character set, or the like.
const CHOICE = /\x1b[ -/]+[0-~]?/y;
const BEGUN = /^\x1b(\[[0-?]*[ -/]*|[ -/]*)$/;
// How far the cursor may move beyond the printed text: terminals have a limited width.
const COLUMNS_MAX = 200;
const TAB = 8;
// Marks that reorder text or are invisible: shown by their number.
const HIDDEN = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const JOINER = /^[\u200c\u200d]$/;
const mark = (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;

// Joiners are part of the spelling inside words and emoji. ASCII never needs one: there it could
// only hide.
const SEEN = /^[^\s\p{C}]$/u;
const joins = (before, after) => SEEN.test(before) && SEEN.test(after) && !(before < '\x80' && after < '\x80');

function shown(text, before) {
  return text.replace(HIDDEN, (c, at) => {
    if (!JOINER.test(c)) return mark(c);
    const left = at ? lastCharacter(text.slice(Math.max(0, at - 2), at)) : before;
    return joins(left, String.fromCodePoint(text.codePointAt(at + 1) ?? 0)) ? c : mark(c);
  });
}

const lastCharacter = (text) => [...text.slice(-2)].at(-1) ?? '';

// Splits text into what readers see as characters, which are never cut.
const segmenter = new Intl.Segmenter('en');
const characters = (text) => (text.length < 2 ? [...text] : Array.from(segmenter.segment(text), ({ segment }) => segment));
// Text in which each character has one column.
const isEven = (text) => /^[\x20-\x7e]*$/.test(text);
const WIDE = /^(?:\p{Emoji_Presentation}|.\ufe0f|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}])/u;

/** The columns of a character that begins at `column`. */
function columnsOf(character, column) {
  if (character === '\t') return TAB - (column % TAB);
  return WIDE.test(character) ? 2 : 1;
}

function width(text, from = 0) {
  if (isEven(text)) return text.length;
  let column = from;
  for (const character of characters(text)) column += columnsOf(character, column);
  return column - from;
}

/** Where to cut `text`, which follows `before` (its end is enough), so that at most `room` remains and no character is cut. */
function cutAt(before, text, room) {
  const whole = before + text.slice(0, room + 64);
  let at = 0;
  for (const { index } of segmenter.segment(whole)) {
    // One that began in what is before goes on to its end.
    if (index <= before.length + room || at < before.length) at = index;
  }
  return Math.max(0, at - before.length);
}

/** Parses one stream. `newRow(isContinued)` returns the row for new text; `changed(row)` is called after changes. */
export class Reader {
  constructor({ newRow, changed, ended }) {
    Object.assign(this, { newRow, changed, ended });
    this.row = null;
    // The cursor's column in its row; null if it is at the end.
    this.column = null;
    this.rest = '';
    this.inString = false;
    this.style = new Style();
  }

  write(text) {
    text = this.rest + text;
    this.rest = '';
    let at = 0;
    while (at < text.length) {
      // A line begins with its first byte, as the server counts lines.
      this.row ??= this.newRow(false);
      if (this.inString) {
        at = this.skipString(text, at);
        continue;
      }
      CONTROL.lastIndex = at;
      const end = CONTROL.exec(text)?.index ?? text.length;
      // The next character decides whether a joiner joins.
      if (end === text.length && JOINER.test(text[end - 1])) {
        this.rest = text[end - 1];
        if (end - 1 > at) this.put(text.slice(at, end - 1));
        return;
      }
      if (end > at) this.put(text.slice(at, end));
      at = end < text.length ? this.control(text, end) : end;
    }
  }

  // Handles the control character at `at`. Returns the index after it.
  control(text, at) {
    switch (text.charCodeAt(at)) {
      case 10:
        this.endLine();
        break;
      case 13:
        this.moveTo(0);
        break;
      case 8:
        this.moveBy(-1);
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
      if (!csi[2]) this.csi(csi[1], csi[3]);
      return CSI.lastIndex;
    }
    const rest = text.slice(at, at + SEQUENCE_MAX);
    if (BEGUN.test(rest) && rest.length < SEQUENCE_MAX) {
      this.rest = rest;
      return text.length;
    }
    CHOICE.lastIndex = at;
    if (CHOICE.test(text)) return CHOICE.lastIndex;
    const next = text[at + 1];
    if (next === ']' || next === 'P' || next === 'X' || next === '^' || next === '_') {
      this.inString = true;
      return at + 2;
    }
    // Only a printable character can end the sequence.
    return next >= '0' && next <= '~' ? at + 2 : at + 1;
  }

  // Skips a title, a link or a picture, up to its end or the line's end: one that never ends must
  // not hide the output.
  skipString(text, at) {
    STRING_END.lastIndex = at;
    const end = STRING_END.exec(text);
    if (!end) return text.length;
    // The rest of its end may arrive later.
    if (end[0] === '\x1b' && end.index + 1 === text.length) {
      this.rest = '\x1b';
      return text.length;
    }
    this.inString = false;
    // An ESC begins the string's end or another sequence; a line's end is still needed.
    return end[0] === '\x1b' || end[0] === '\n' ? end.index : end.index + 1;
  }

  csi(params, final) {
    if (final === 'm') {
      if (/^[\d;:]*$/.test(params)) this.style.set(params);
      return;
    }
    if (!/^\d*$/.test(params)) return;
    const count = Math.max(1, Number(params) || 1);
    if (final === 'K') this.erase(params);
    else if (final === 'G' || final === '`') this.moveTo(count - 1);
    else if (final === 'C' || final === 'a') this.moveBy(count);
    else if (final === 'D') this.moveBy(-count);
  }

  moveTo(column) {
    const end = this.row.width;
    column = Math.max(0, Math.min(column, Math.max(end, COLUMNS_MAX)));
    this.column = column === end ? null : column;
  }

  moveBy(columns) {
    this.moveTo((this.column ?? this.row.width) + columns);
  }

  erase(params) {
    const column = this.column ?? this.row.width;
    if (params === '' || Number(params) === 0) this.row.cut(column);
    else if (Number(params) === 1) this.row.write(0, ' '.repeat(Math.min(column, this.row.width)), '');
    else if (Number(params) === 2) this.row.cut(0);
    else return;
    this.moveTo(column);
    this.changed(this.row);
  }

  put(text) {
    text = shown(text, this.column === null ? lastCharacter(this.row.end) : '');
    if (this.column !== null) text = this.overwrite(text);
    while (this.row.length + text.length > ROW_MAX) {
      const cut = cutAt(this.row.end, text, Math.max(0, ROW_MAX - this.row.length));
      // There is no room for another character, or it is longer than a row.
      const at = cut || (this.row.length ? 0 : Math.min(text.length, ROW_MAX));
      this.row.append(text.slice(0, at), this.style.classes);
      this.changed(this.row);
      text = text.slice(at);
      if (!text) return;
      this.row.isPart = true;
      this.changed(this.row);
      this.row = this.newRow(true);
    }
    this.row.append(text, this.style.classes);
    this.changed(this.row);
  }

  // Overwrites existing text. Returns the text that goes beyond it.
  overwrite(text) {
    let column = this.column;
    const end = this.row.width;
    if (column > end) {
      this.row.append(' '.repeat(column - end), '');
      this.column = null;
      return text;
    }
    let at = 0;
    for (const character of isEven(text) ? text : characters(text)) {
      if (column >= end) break;
      column += columnsOf(character, column);
      at += character.length;
    }
    if (column > this.column) this.row.write(this.column, text.slice(0, at), this.style.classes);
    this.changed(this.row);
    this.moveTo(column);
    return text.slice(at);
  }

  endLine() {
    this.row.hasEnded = true;
    this.ended(this.row);
    this.row = null;
    this.column = null;
  }

  /** Ends the current row, as the next output does not continue it. Returns whether its line was incomplete. */
  break() {
    const wasOpen = Boolean(this.row);
    this.row = null;
    this.column = null;
    this.rest = '';
    this.inString = false;
    return wasOpen;
  }
}

/**
 * A row of output: pieces of text, each with its classes. If the cursor moves among characters of different widths, the
 * row is stored as cells, one per character, so that a move need not read the whole row.
 */
// The pieces of a row without text, shared: most rows have one piece, and an array that grew to it
// would be far larger.
const NONE = Object.freeze([]);

export class Row {
  constructor(stream, number) {
    this.stream = stream;
    this.number = number;
    this.at = 0;
    this.length = 0;
    this.element = null;
    this.hasEnded = false;
    this.made = NONE;
    this.cells = null;
    this.isEven = true;
  }

  get pieces() {
    if (this.made) return this.made;
    this.made = [];
    for (const { text, classes } of this.cells) addTo(this.made, text, classes);
    return this.made;
  }

  get text() {
    return this.pieces.map((piece) => piece.text).join('');
  }

  /** The end of its text. */
  get end() {
    return this.cells ? this.cells.slice(-8).map(({ text }) => text).join('') : this.made.at(-1)?.text.slice(-64) ?? '';
  }

  get width() {
    if (this.isEven) return this.length;
    this.toCells();
    return this.columns;
  }

  append(text, classes) {
    if (!text) return;
    this.isEven &&= isEven(text);
    if (this.cells) this.addCells(text, classes);
    else {
      if (this.made === NONE) this.made = [{ text, classes }];
      else addTo(this.made, text, classes);
      this.length += text.length;
    }
  }

  addCells(text, classes) {
    const last = this.cells.pop();
    // The new text may continue the last character.
    const [first, ...rest] = characters((last?.text ?? '') + text);
    if (last) this.columns -= last.columns;
    if (this.near[0] > this.cells.length) this.near = [this.cells.length, this.columns];
    this.length += text.length;
    const add = (character, of) => {
      const columns = columnsOf(character, this.columns);
      this.cells.push({ text: character, classes: of, columns });
      this.columns += columns;
    };
    add(first, last ? last.classes : classes);
    for (const character of rest) add(character, classes);
    this.made = null;
  }

  toCells() {
    if (this.cells) return;
    const pieces = this.made;
    // `near`: the cell and the column that were looked up last; a cursor mostly moves by little.
    Object.assign(this, { cells: [], columns: 0, length: 0, near: [0, 0] });
    for (const { text, classes } of pieces) this.addCells(text, classes);
  }

  /** Writes text over what is at `column`. */
  write(column, text, classes) {
    this.replace(column, column + (isEven(text) ? text.length : width(text, column)), text, classes);
  }

  cut(column) {
    this.replace(column, Infinity, '', '');
  }

  // The uncovered half of a wide character becomes blank.
  replace(from, to, text, classes) {
    if (this.isEven && isEven(text)) {
      const after = slice(this.made, to, Infinity);
      this.made = slice(this.made, 0, from);
      addTo(this.made, text, classes);
      for (const piece of after) addTo(this.made, piece.text, piece.classes);
      this.length = this.made.reduce((sum, piece) => sum + piece.text.length, 0);
      return;
    }
    this.toCells();
    this.isEven = false;
    let [first, at] = this.near;
    while (at > from) at -= this.cells[--first].columns;
    while (first < this.cells.length && at + this.cells[first].columns <= from) at += this.cells[first++].columns;
    this.near = [first, at];
    let [end, covered] = [first, at];
    while (end < this.cells.length && covered < to) covered += this.cells[end++].columns;
    const blank = { text: ' ', classes: '', columns: 1 };
    const fresh = [];
    for (; at < Math.min(from, this.columns); at += 1) fresh.push(blank);
    let column = from;
    for (const character of characters(text)) {
      fresh.push({ text: character, classes, columns: columnsOf(character, column) });
      column += fresh.at(-1).columns;
    }
    for (; to < covered; covered -= 1) fresh.push(blank);
    const gone = this.cells.splice(first, end - first, ...fresh);
    const sum = (cells, of) => cells.reduce((all, cell) => all + of(cell), 0);
    this.length += sum(fresh, (cell) => cell.text.length) - sum(gone, (cell) => cell.text.length);
    this.columns += sum(fresh, (cell) => cell.columns) - sum(gone, (cell) => cell.columns);
    this.made = null;
  }
}

function addTo(pieces, text, classes) {
  if (!text) return;
  const last = pieces.at(-1);
  if (last && last.classes === classes) last.text += text;
  else pieces.push({ text, classes });
}

function slice(pieces, from, to) {
  const some = [];
  let at = 0;
  for (const piece of pieces) {
    const text = piece.text.slice(Math.max(0, from - at), Math.max(0, to - at));
    if (text) some.push({ text, classes: piece.classes });
    at += piece.text.length;
  }
  return some;
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
    const groups = params.split(';').map((group) => group.split(':'));
    for (let i = 0; i < groups.length; i += 1) {
      const [code, ...more] = groups[i].map(Number);
      if (more.length) this.setGroup(code, more);
      else if (code === 38 || code === 48 || code === 58) {
        const [colour, used] = extended(groups.slice(i + 1, i + 5).map(([first]) => Number(first)));
        this.setColour(code, colour);
        i += used;
      } else this.setOne(code);
    }
    this.classes = this.name();
  }

  // `38:5:n`, `38:2:r:g:b`, `38:2::r:g:b`, `4:3`
  setGroup(code, more) {
    if (code === 4) this.flags.underline = more[0] !== 0;
    else if (more[0] === 2 && more.length > 4) this.setColour(code, extended([2, ...more.slice(2)])[0]);
    else this.setColour(code, extended(more)[0]);
  }

  // 58 is the colour of the underline, which is drawn in the text's colour.
  setColour(code, colour) {
    if (colour === null) return;
    if (code === 38) this.fore = colour;
    else if (code === 48) this.back = colour;
  }

  setOne(code) {
    const flags = this.flags;
    if (code === 0) this.reset();
    else if (code === 1) flags.bold = true;
    else if (code === 2) flags.dim = true;
    else if (code === 3) flags.italic = true;
    else if (code === 4 || code === 21) flags.underline = true;
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
      // On a background set by the job, the text has the job's colour, or black or white for
      // contrast.
      names.push(`b${back}`, `t${fore === null || fore < 0 ? contrasting(back) : fore}`);
      need(back), need(fore ?? contrasting(back));
    } else if (fore !== null && fore >= 0) {
      names.push(`f${fore}`);
      need(fore);
    }
    return names.join(' ');
  }
}

// The colour after 38, 48 or 58: `5;n`, or `2;r;g;b` as the nearest of the 256. Returns it and the
// number of codes used.
function extended([kind, ...codes]) {
  if (kind === 5) return [(codes[0] ?? 0) & 255, 2];
  if (kind !== 2) return [null, 0];
  const [red, green, blue] = [0, 1, 2].map((i) => Math.min(255, codes[i] || 0));
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

// Creates the classes of a colour on its first use: at most 256 times three rules. As text on the
// page's own background its lightness is bounded (`--readable`), to be readable in both themes.
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

// The page of `zoo demo`: it runs a .tflite file with LiteRT.js, on images that it decodes, resizes and moves by the
// same rules as `zoo predict` and `zoo evaluate --invariance`. No build step: this is what runs.

const $ = (id) => document.getElementById(id);
const AXES = {
  angle: { label: 'Turn', unit: '°', words: (v) => `${signed(v, 0)}°` },
  shiftX: { label: 'Shift right', unit: ' px', words: (v) => `${signed(v, 1)} px` },
  shiftY: { label: 'Shift down', unit: ' px', words: (v) => `${signed(v, 1)} px` },
  scale: { label: 'Scale', unit: '', words: (v) => `× ${v.toFixed(2)}` },
};
const AT_REST = { angle: 0, shiftX: 0, shiftY: 0, scale: 1, mirror: false, invert: false };
const MAX_PIXELS = 89478485; // as Pillow has it: an image of more is taken for a bomb
const MOST_BARS = 12; // classes that are all shown, in their order; of more, the best few
const SERIES = 4; // lines of the curve
const MOST_RIGHT = 12; // examples of right answers that are shown; the others verify
const ALLOWED = 'allowed: images that this browser reads, such as PNG, JPEG, WebP, GIF, BMP and AVIF';

// Numbers as people read them.

const minus = (text) => text.replace('-', '−');
const signed = (v, digits) => minus(`${v > 0 ? '+' : ''}${(v || 0).toFixed(digits)}`);
const percent = (v) => (v >= 0.9995 ? '100 %' : `${(100 * Math.max(0, v)).toFixed(1)} %`);
const plain = (v) => minus(Math.abs(v) >= 1000 ? v.toFixed(0) : v.toPrecision(4));
const small = (v) => (v === 0 ? '0' : v < 1e-3 ? minus(v.toExponential(1)) : v.toPrecision(2));
const count = (v) => v.toLocaleString('en');

// Pixels. An image is { width, height, channels, data }, uint8, as rows of pixels.

/** An image file as pixels, upright, its transparency over white, its colours as they are stored. */
export async function decode(blob, channels) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  try {
    if (bitmap.width * bitmap.height > MAX_PIXELS) {
      throw new RangeError(`it has ${count(bitmap.width * bitmap.height)} pixels; allowed: ${count(MAX_PIXELS)}`);
    }
    return pixelsOf(bitmap, bitmap.width, bitmap.height, channels);
  } finally {
    bitmap.close();
  }
}

/** What can be drawn as pixels; in strips, since phones have no large canvas. */
function pixelsOf(drawable, width, height, channels) {
  const rows = Math.min(height, Math.max(1, Math.floor(2 ** 20 / width)));
  const context = contextOf(width, rows);
  const data = new Uint8Array(width * height * channels);
  let at = 0;
  for (let top = 0; top < height; top += rows) {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, rows);
    context.drawImage(drawable, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top)).data;
    for (let i = 0; i < strip.length; i += 4) {
      if (channels === 1) {
        data[at++] = (strip[i] * 19595 + strip[i + 1] * 38470 + strip[i + 2] * 7471 + 0x8000) >> 16; // Pillow's luminance
      } else {
        data[at++] = strip[i];
        data[at++] = strip[i + 1];
        data[at++] = strip[i + 2];
      }
    }
  }
  return { width, height, channels, data };
}

function contextOf(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext('2d', { willReadFrequently: true }); // in memory, where no graphics card rounds
}

/** An image at the model's size: `fill` crops, `fit` puts black bars, `stretch` ignores the aspect ratio. */
export function resize(image, width, height, rule) {
  const { width: w, height: h, channels } = image;
  if (w === width && h === height) return image;
  if (rule === 'stretch') return resample(image, width, height, [0, 0, w, h]);
  const wide = w / h > width / height;
  if (rule === 'fill') {
    if (w / h === width / height) return resample(image, width, height, [0, 0, w, h]);
    const across = wide ? (width / height) * h : w;
    const down = wide ? h : w / (width / height);
    const left = (w - across) * 0.5;
    const top = (h - down) * 0.5;
    return resample(image, width, height, [left, top, left + across, top + down]);
  }
  const across = wide ? width : Math.max(1, halfToEven((w / h) * height));
  const down = wide ? Math.max(1, halfToEven((h / w) * width)) : height;
  const inner = across === w && down === h ? image : resample(image, across, down, [0, 0, w, h]);
  const left = halfToEven((width - across) / 2);
  const top = halfToEven((height - down) / 2);
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < down; y++) {
    const row = inner.data.subarray(y * across * channels, (y + 1) * across * channels);
    data.set(row, ((top + y) * width + left) * channels);
  }
  return { width, height, channels, data };
}

function halfToEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}

/** Pillow's antialiased bilinear resampling of a box, to the bit: in integers of 22 bits, one direction after the other. */
function resample(image, width, height, [x0, y0, x1, y1]) {
  const across = (from) => (width !== image.width || x0 || x1 !== width ? resampleRows(from, width, x0, x1) : from);
  const down = (from) => (height !== image.height || y0 || y1 !== height ? resampleColumns(from, height, y0, y1) : from);
  const [less, lower] = [image.width - width, image.height - height];
  return facts.tall_first && lower > 0 && lower > 2 * less ? across(down(image)) : down(across(image));
}

function resampleRows({ width: w, height, channels, data }, width, x0, x1) {
  const made = new Uint8Array(width * height * channels);
  taps(w, x0, x1, width).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      weigh(data, (y * w + first) * channels, channels, weights, made, (y * width + x) * channels, channels);
    }
  });
  return { width, height, channels, data: made };
}

function resampleColumns({ width, height: h, channels, data }, height, y0, y1) {
  const made = new Uint8Array(width * height * channels);
  const row = width * channels;
  taps(h, y0, y1, height).forEach(({ first, weights }, y) => {
    for (let x = 0; x < width; x++) {
      weigh(data, first * row + x * channels, row, weights, made, y * row + x * channels, channels);
    }
  });
  return { width, height, channels, data: made };
}

function weigh(from, start, step, weights, to, at, channels) {
  for (let channel = 0; channel < channels; channel++) {
    let sum = 1 << 21;
    for (let i = 0, place = start + channel; i < weights.length; i++, place += step) sum += from[place] * weights[i];
    to[at + channel] = Math.min(255, Math.max(0, sum >> 22));
  }
}

/** Of each pixel of the result, the first pixel that it is made of, and the weights of those from there on. */
function taps(size, from, to, count) {
  const start = Math.fround(from); // Pillow has boxes as floats of 32 bits
  const scale = Math.fround(Math.fround(to) - start) / count;
  const support = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) weights.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) * (1 / support))));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (sum ? weight / sum : weight) * (1 << 22))) };
  });
}

/** An image turned, shifted, scaled and mirrored about its centre in one resampling; outside it is black. */
export function warp(image, { angle, shiftX, shiftY, scale, mirror }) {
  const { width, height, channels, data } = image;
  if (!angle && !shiftX && !shiftY && scale === 1 && !mirror) return image;
  const { fround } = Math;
  const radians = fround((angle * Math.PI) / 180);
  const [cos, sin] = [fround(Math.cos(radians)), fround(Math.sin(radians))];
  const [across, down] = [fround((mirror ? -1 : 1) / scale), fround(1 / scale)];
  const [a, b, d, e] = [across * cos, across * -sin, down * sin, down * cos].map(fround);
  const [cx, cy] = [(width - 1) / 2, (height - 1) / 2];
  const c = fround(cx - a * (cx + shiftX) - b * (cy + shiftY));
  const f = fround(cy - d * (cx + shiftX) - e * (cy + shiftY));
  const made = new Uint8Array(data.length);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += channels) {
      // In steps of 1/1024 of a pixel, so that quarter turns and whole shifts are exact.
      const inX = Math.round(fround(fround(fround(a * x) + fround(b * y)) + c) * 1024) / 1024;
      const inY = Math.round(fround(fround(fround(d * x) + fround(e * y)) + f) * 1024) / 1024;
      const [left, top] = [Math.floor(inX), Math.floor(inY)];
      if (left < -1 || top < -1 || left >= width || top >= height) continue;
      const [partX, partY] = [inX - left, inY - top];
      const onLeft = left >= 0 ? 1 - partX : 0;
      const onRight = left + 1 < width ? partX : 0;
      const onTop = top >= 0 ? 1 - partY : 0;
      const onBottom = top + 1 < height ? partY : 0;
      const [x0, x1] = [Math.max(left, 0), Math.min(left + 1, width - 1)];
      const [y0, y1] = [Math.max(top, 0) * width, Math.min(top + 1, height - 1) * width];
      for (let channel = 0; channel < channels; channel++) {
        const pixel = (place) => data[place * channels + channel];
        const upper = pixel(y0 + x0) * onLeft + pixel(y0 + x1) * onRight;
        const lower = pixel(y1 + x0) * onLeft + pixel(y1 + x1) * onRight;
        made[at + channel] = Math.floor(fround(upper * onTop + lower * onBottom) + 0.5);
      }
    }
  }
  return { width, height, channels, data: made };
}

// The model.

/** The bytes at an address, refused by the browser if they are others than were meant. */
async function bytesOf({ url, integrity }) {
  const response = await fetch(url, integrity ? { integrity } : {});
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response.arrayBuffer();
}

/** The processor is what the file was verified on: LiteRT.js, which asks for a graphics card by itself, finds none. */
async function withoutGraphicsCard(load) {
  const adapter = { limits: {}, features: new Set(), requestDevice: async () => null };
  Object.defineProperty(navigator, 'gpu', { value: { requestAdapter: async () => adapter }, configurable: true });
  try {
    await load();
  } finally {
    delete navigator.gpu;
  }
}

/** The model in LiteRT.js: from an image of its size to its scores. */
class Model {
  static async load(facts, content) {
    const litert = await import('@litertjs/core');
    const relaxed = await litert.supportsFeature('relaxedSimd');
    const build = facts.runtime.builds[relaxed ? 'simd' : 'compat'];
    const checked = Boolean(build.wasm.integrity); // what lies beside the page is compiled while it is loaded
    const [script, wasmBinary] = await Promise.all([bytesOf(build.script), checked ? bytesOf(build.wasm) : undefined]);
    const locateFile = () => new URL(build.wasm.url, document.baseURI).href;
    const address = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
    const quiet = () => {}; // what it says of itself
    self.Module = { ...(checked ? { wasmBinary } : { locateFile }), print: quiet, printErr: quiet }; // LiteRT.js takes it from there
    await withoutGraphicsCard(() => litert.loadLiteRt(`${address}#.js`)); // it looks at the ending
    URL.revokeObjectURL(address);
    return new Model(litert, await litert.loadAndCompile(new Uint8Array(await content), { accelerator: 'wasm' }), facts);
  }

  constructor({ Tensor }, compiled, { shape, input, output }) {
    Object.assign(this, { Tensor, compiled, input, output, shape: [1, ...shape], spent: 0, runs: 0 });
  }

  /** Scores as the file gives them, integers made real. */
  async scores({ data, channels }) {
    const began = performance.now();
    const tensor = new this.Tensor(this.values(data, channels), this.shape);
    const [made] = await this.compiled.run([tensor]);
    const values = await made.data();
    const { dtype, scale, zero_point: zero } = this.output;
    const scores = Float32Array.from(values, dtype === 'uint8' ? (v) => (v - zero) * Math.fround(scale) : undefined);
    tensor.delete();
    made.delete();
    this.spent += performance.now() - began;
    this.runs += 1;
    return scores;
  }

  /** Milliseconds an image. */
  get pace() {
    return this.runs ? this.spent / this.runs : 0;
  }

  values(data, channels) {
    if (this.input.dtype === 'uint8') return data;
    const { mean, std } = this.input;
    const of = (list, i) => list[list.length === 1 ? 0 : i % channels];
    return Float32Array.from(data, (pixel, i) => (pixel - of(mean, i)) / of(std, i));
  }
}

/** Scores as they are shown: shares, where a file from elsewhere gives logits. */
function shown(scores, activation) {
  if (activation === 'sigmoid') return scores.map((v) => 1 / (1 + Math.exp(-v)));
  if (activation !== 'softmax') return scores;
  const most = Math.max(...scores);
  const powers = scores.map((v) => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}

const bestOf = (scores) => scores.reduce((best, v, i) => (v > scores[best] ? i : best), 0);

// What is on the page.

let facts; // demo.json
let model;
let examples; // { images, scores, probes }
let source = null; // the image at the model's size, before it is moved
const moves = { ...AT_REST };
let over = 'angle'; // what the curve is drawn over
let version = 0; // of source and moves
let answered = -1; // the version that the scores are of
let changedAt = 0;
let pumping = false;

const pause = () => new Promise((go) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = go;
  port2.postMessage(0);
});

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function tell(text) {
  $('message').textContent = text;
  $('message').hidden = !text;
}

const classWords = (i) => (facts.named ? facts.classes[i] : `Class ${facts.classes[i]}`);

function paint(canvas, { width, height, channels, data }) {
  canvas.width = width;
  canvas.height = height;
  const rgba = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let channel = 0; channel < 3; channel++) rgba.data[4 * i + channel] = data[i * channels + (channels === 1 ? 0 : channel)];
    rgba.data[4 * i + 3] = 255;
  }
  canvas.getContext('2d').putImageData(rgba, 0, 0);
}

function moved(changes = {}) {
  const image = moves.invert ? { ...source, data: source.data.map((v) => 255 - v) } : source;
  return warp(image, { ...moves, ...changes });
}

/** No image: what there is to do instead. */
function rest(text) {
  source = null;
  drawn = curve = null;
  [$('name').textContent, $('share').textContent, $('best').className] = [text, '', 'long'];
  for (const row of rows) [row.className, row.children[1].firstChild.style.transform, row.children[2].textContent] = ['', '', ''];
  drawSoon();
}

/** A new image, at the model's size. */
function show(image) {
  source = image;
  sourceNumber += 1;
  tell('');
  changed();
}
let sourceNumber = 0;

function changed(at = performance.now()) {
  version += 1;
  changedAt = at;
  pump();
}

/** Scores what has changed; when nothing has, goes on with the curve. Always leaves room for fingers. */
async function pump() {
  if (pumping || !model || !source) return;
  pumping = true;
  try {
    for (let since = performance.now(); ;) {
      if (!source) break;
      if (answered !== version) await answer();
      else if (!(await goOnWithCurve())) break;
      if (performance.now() - since > 8) {
        await pause();
        since = performance.now();
      }
    }
  } catch (error) {
    tell(`The model cannot be run: ${error.message}.`);
    answered = version;
  } finally {
    pumping = false;
  }
}

async function answer() {
  const asked = version;
  const at = changedAt;
  const image = moved();
  const scores = shown(await model.scores(image), facts.output.activation);
  if (!source) return; // cleared meanwhile
  answered = asked;
  paint($('stage'), image);
  showAnswer(scores);
  drawSoon();
  document.dispatchEvent(new CustomEvent('scored', { detail: { scores: [...scores], lag: performance.now() - at } }));
}

// The answer.

let rows = [];
let colours = new Map(); // of classes on the curve

function makeBars() {
  if (!facts.shares) return;
  const few = facts.classes.length <= MOST_BARS;
  const long = facts.classes.some((name) => name.length > 3);
  $('bars').className = long ? 'named' : '';
  rows = Array.from({ length: few ? facts.classes.length : 5 }, () => {
    const row = element('li', {}, element('span', { class: 'label' }), element('span', { class: 'track', 'aria-hidden': 'true' },
      element('span', { class: 'fill' })), element('span', { class: 'value' }));
    $('bars').append(row);
    return row;
  });
}

function showAnswer(scores) {
  $('start').hidden = true;
  const best = bestOf(scores);
  const { name, share } = words(scores, best);
  $('name').textContent = name;
  $('share').textContent = share;
  $('best').className = name.length > 14 ? 'long' : '';
  const order = rows.length === scores.length ? [...scores.keys()] : [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
  rows.forEach((row, i) => {
    const which = order[i];
    const [label, track, value] = row.children;
    const slot = colours.get(which);
    row.className = `${which === best ? 'first ' : ''}${slot === undefined ? '' : `s${slot}`}`;
    label.textContent = facts.classes[which];
    track.firstChild.style.transform = `scaleX(${Math.min(1, Math.max(0, scores[which]))})`;
    value.textContent = percent(scores[which]);
  });
  sayLater(`${name}${share ? `, ${share}` : ''}`);
}

/** The answer in words. */
function words(scores, best) {
  if (!facts.shares) return { name: plain(scores[0]), share: facts.named ? facts.classes[0] : '' };
  if (facts.task === 'multilabel') {
    const names = facts.classes.filter((_, i) => scores[i] >= (facts.threshold ?? 0.5));
    return { name: names.join(', ') || 'Nothing', share: '' };
  }
  const sure = facts.threshold === null || scores[best] >= facts.threshold;
  if (sure) return { name: classWords(best), share: percent(scores[best]) };
  return { name: 'Not sure', share: `${classWords(best)}, ${percent(scores[best])} of ${percent(facts.threshold)} that it takes` };
}

let saying;
function sayLater(text) {
  clearTimeout(saying); // a screen reader is told when the image has come to rest
  saying = setTimeout(() => { $('status').textContent = text; }, 600);
}

// The curve.

let curve = null; // { key, at, scores, order }: what is being computed
let drawn = null; // what is on the chart
let drawing = 0;

function limits(axis) {
  const [height, width] = facts.shape;
  if (axis === 'angle') return [-180, 180, 1];
  if (axis === 'scale') return [0.4, 2, 0.01];
  const most = Math.round((axis === 'shiftX' ? width : height) / 2);
  return [-most, most, 0.5];
}

function points(axis) {
  const [low, high] = limits(axis);
  const parts = (axis === 'angle' ? 72 : 64) / (model.pace > 20 ? 2 : 1);
  return Array.from({ length: parts + 1 }, (_, i) => low + ((high - low) * i) / parts);
}

/** Computes one more point of the curve, from coarse to fine; false when there is none. */
async function goOnWithCurve() {
  const others = { ...moves, [over]: null };
  const key = JSON.stringify([sourceNumber, over, others]);
  if (curve?.key !== key) {
    const at = points(over);
    const order = [8, 4, 2, 1].flatMap((step, turn, steps) => [...at.keys()].filter((i) => i % step === 0 && (!turn || i % steps[turn - 1])));
    curve = { key, over, at, order, scores: at.map(() => null), done: 0 };
  }
  if (curve.done === curve.at.length) return false;
  const mine = curve;
  const i = mine.order[mine.done];
  mine.scores[i] = shown(await model.scores(moved({ [over]: mine.at[i] })), facts.output.activation);
  if (curve !== mine) return true;
  mine.done += 1;
  if (mine.done > mine.at.length / 4 || !drawn) {
    drawn = mine;
    drawSoon();
  }
  return true;
}

function drawSoon() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawChart();
  });
}

function svg(name, attributes = {}, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function drawChart() {
  const chart = $('chart');
  const { width, height } = chart.getBoundingClientRect();
  if (!width) return;
  chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const known = drawn?.over === over ? drawn.at.map((x, i) => [x, drawn.scores[i]]).filter(([, scores]) => scores) : [];
  const [low, high] = limits(over);
  const all = facts.shares ? [0, 1] : known.map(([, scores]) => scores[0]);
  const [bottom, top] = [Math.min(...all), Math.max(...all)];
  const edge = { left: 40, right: 10, top: 20, bottom: 24 };
  const x = (v) => edge.left + ((v - low) / (high - low)) * (width - edge.left - edge.right);
  const y = (v) => height - edge.bottom - ((v - bottom) / (top - bottom || 1)) * (height - edge.top - edge.bottom);
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const v = bottom + part * (top - bottom);
    if (!Number.isFinite(v)) break;
    parts.push(svg('line', { class: 'grid', x1: edge.left, x2: width - edge.right, y1: y(v), y2: y(v) }));
    parts.push(svg('text', { x: edge.left - 6, y: y(v) + 4, 'text-anchor': 'end' }, facts.shares ? `${100 * v} %` : plain(v)));
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const v = low + part * (high - low);
    const anchor = part === 0 ? 'start' : part === 1 ? 'end' : 'middle';
    parts.push(svg('text', { x: x(v), y: height - 6, 'text-anchor': anchor }, AXES[over].words(v).replace('.0', '').replace(/^\+/, '')));
  }
  if (facts.threshold !== null && facts.shares) {
    parts.push(svg('line', { class: 'threshold', x1: edge.left, x2: width - edge.right, y1: y(facts.threshold), y2: y(facts.threshold) }));
  }
  const names = [];
  for (const [which, slot] of seriesOf(known)) {
    const line = known.map(([v, scores]) => `${x(v).toFixed(1)},${y(scores[which]).toFixed(1)}`).join(' ');
    parts.push(svg('polyline', { class: `line s${slot}`, points: line }));
    if (facts.shares) names.push(nameOf(known, which, slot, x, y, names, width));
  }
  parts.push(...names.filter(Boolean).map((name) => name.text));
  const here = moves[over];
  parts.push(svg('line', { class: 'now', x1: x(here), x2: x(here), y1: edge.top - 6, y2: height - edge.bottom }));
  chart.replaceChildren(...parts);
  $('summary').textContent = summary(known);
}

/** The name of a class, at the highest place of its line; none where another name stands. */
function nameOf(known, which, slot, x, y, others, width) {
  const [at, scores] = known.reduce((most, point) => (point[1][which] > most[1][which] ? point : most));
  const label = facts.classes[which].length > 16 ? `${facts.classes[which].slice(0, 15)}…` : facts.classes[which];
  const half = 4 + label.length * 3.3;
  const [placeX, placeY] = [Math.min(width - half, Math.max(44 + half, x(at))), y(scores[which]) - 7];
  if (scores[which] < 0.1) return null;
  if (others.some((other) => other && Math.abs(other.x - placeX) < half + other.half && Math.abs(other.y - placeY) < 13)) return null;
  return { x: placeX, y: placeY, half, text: svg('text', { class: `name s${slot}`, x: placeX, y: placeY, 'text-anchor': 'middle' }, label) };
}

/** The classes that the curve shows, each with its colour, which it keeps. */
function seriesOf(known) {
  if (!known.length) return [];
  const peaks = facts.classes.map((_, i) => Math.max(...known.map(([, scores]) => scores[i])));
  const chosen = [...peaks.keys()].sort((a, b) => peaks[b] - peaks[a]).slice(0, SERIES).filter((i) => !facts.shares || peaks[i] > 0.05);
  const kept = new Map([...colours].filter(([which]) => chosen.includes(which)));
  const free = [...Array(SERIES).keys()].filter((slot) => ![...kept.values()].includes(slot));
  for (const which of chosen) if (!kept.has(which)) kept.set(which, free.shift());
  const same = kept.size === colours.size && [...kept].every(([which, slot]) => colours.get(which) === slot);
  colours = kept;
  if (!same) answered = -1; // the bars have these colours, too
  if (!same) pump();
  return [...kept];
}

/** How far the answer holds, in words. */
function summary(known) {
  if (!known.length) return '';
  const axis = AXES[over];
  if (!facts.shares) {
    const values = known.map(([, scores]) => scores[0]);
    return `${axis.label}: from ${plain(Math.min(...values))} to ${plain(Math.max(...values))}.`;
  }
  const here = known.reduce((near, [v], i) => (Math.abs(v - moves[over]) < Math.abs(known[near][0] - moves[over]) ? i : near), 0);
  const best = bestOf(known[here][1]);
  const holds = (i) => known[i] && bestOf(known[i][1]) === best;
  let [first, last] = [here, here];
  while (holds(first - 1)) first -= 1;
  while (holds(last + 1)) last += 1;
  const name = classWords(best);
  if (first === 0 && last === known.length - 1) return `${axis.label}: ${name} is ahead all the way.`;
  return `${axis.label}: ${name} is ahead from ${axis.words(known[first][0])} to ${axis.words(known[last][0])}.`;
}

// Sliders, the stage and the chart as things to hold.

function setMove(name, value, at) {
  const [low, high, step] = limits(name);
  moves[name] = Math.min(high, Math.max(low, Math.round(value / step) * step));
  showMoves();
  changed(at);
}

function showMoves() {
  for (const [name, { words: inWords }] of Object.entries(AXES)) {
    const slider = $(name);
    slider.value = moves[name];
    slider.nextElementSibling.textContent = inWords(moves[name]);
    slider.setAttribute('aria-valuetext', inWords(moves[name]));
  }
  $('mirror').checked = moves.mirror;
  $('invert').checked = moves.invert;
}

function setOver(name) {
  over = name;
  document.querySelector(`input[name="over"][value="${name}"]`).checked = true;
}

function makeMoves() {
  for (const name of Object.keys(AXES)) {
    const slider = $(name);
    [slider.min, slider.max, slider.step] = limits(name);
    slider.addEventListener('input', (event) => {
      setOver(name);
      setMove(name, Number(slider.value), event.timeStamp);
    });
  }
  for (const name of ['mirror', 'invert']) {
    $(name).addEventListener('change', (event) => {
      moves[name] = event.target.checked;
      changed(event.timeStamp);
    });
  }
  $('moves').addEventListener('reset', (event) => {
    event.preventDefault();
    Object.assign(moves, AT_REST);
    showMoves();
    changed();
  });
  for (const choice of document.querySelectorAll('input[name="over"]')) {
    choice.addEventListener('change', () => {
      setOver(choice.value);
      changed();
    });
  }
  held($('stage'), (event, from) => {
    const side = $('stage').getBoundingClientRect();
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    setMove('shiftX', from.moves.shiftX + (dx / side.width) * facts.shape[1], event.timeStamp);
    setMove('shiftY', from.moves.shiftY + (dy / side.height) * facts.shape[0], event.timeStamp);
  });
  const follow = (event) => {
    const side = $('chart').getBoundingClientRect();
    const [low, high] = limits(over);
    setMove(over, low + ((event.clientX - side.left - 40) / (side.width - 50)) * (high - low), event.timeStamp);
  };
  held($('chart'), follow, follow);
  new ResizeObserver(drawSoon).observe($('chart'));
  showMoves();
}

/** Calls `move` while a pointer that went down on something is held. */
function held(target, move, begin = () => {}) {
  target.addEventListener('pointerdown', (event) => {
    if (event.button || !source) return;
    event.preventDefault();
    const from = { x: event.clientX, y: event.clientY, moves: { ...moves } };
    target.setPointerCapture(event.pointerId);
    begin(event, from);
    const go = (next) => move(next, from);
    const end = () => target.removeEventListener('pointermove', go);
    target.addEventListener('pointermove', go);
    target.addEventListener('pointerup', end, { once: true });
    target.addEventListener('pointercancel', end, { once: true });
  });
}

// Where images come from.

function makeTabs() {
  const usable = { examples: facts.examples.shown, draw: facts.pad !== null, file: true, camera: true };
  const tabs = Object.keys(usable).filter((name) => {
    $(`tab-${name}`).hidden = !usable[name];
    return usable[name];
  });
  const choose = (name, focus) => {
    for (const other of Object.keys(usable)) {
      const chosen = other === name;
      $(`tab-${other}`).setAttribute('aria-selected', chosen);
      $(`tab-${other}`).tabIndex = chosen ? 0 : -1;
      $(`panel-${other}`).hidden = !chosen;
    }
    if (name !== 'camera') stopCamera();
    if (focus) $(`tab-${name}`).focus();
    tell('');
  };
  tabs.forEach((name, i) => {
    $(`tab-${name}`).addEventListener('click', () => choose(name));
    $(`tab-${name}`).addEventListener('keydown', ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step) choose(tabs[(i + step + tabs.length) % tabs.length], true);
    });
  });
  choose(tabs[0]);
}

function makeExamples() {
  const { labels, shown: any, words: which, accuracy, scored } = facts.examples;
  if (!any) return;
  const groups = { Wrong: [], Right: [], Images: [] };
  examples.images.forEach((image, i) => {
    const best = bestOf(examples.scores[i]);
    const group = labels === null ? 'Images' : labels[i] === best ? 'Right' : 'Wrong';
    if (groups[group].length >= (group === 'Images' ? 2 : 1) * MOST_RIGHT) return;
    const caption = { Images: '', Right: facts.classes[best], Wrong: `${facts.classes[labels?.[i]]} → ${facts.classes[best]}` }[group];
    const spoken = { Images: `Image ${i + 1}`, Right: `${caption}, recognised`, Wrong: `${facts.classes[labels?.[i]]}, taken for ${facts.classes[best]}` }[group];
    const canvas = element('canvas', { 'aria-hidden': 'true' });
    paint(canvas, image);
    const button = element('button', { 'aria-label': spoken, 'aria-pressed': 'false', title: spoken }, canvas, element('span', {}, caption));
    if (group === 'Wrong') button.className = 'wrong';
    button.addEventListener('click', () => {
      $('examples').querySelector('[aria-pressed="true"]')?.setAttribute('aria-pressed', 'false');
      button.setAttribute('aria-pressed', 'true');
      show(image);
    });
    groups[group].push(button);
  });
  const heads = { Wrong: 'Wrong', Right: 'Right', Images: which };
  if (accuracy !== null) heads.Right = `Right, as are ${percent(accuracy)} of ${count(scored)} ${which}`;
  for (const [group, buttons] of Object.entries(groups).sort(([a], [b]) => (a === 'Right' ? -1 : b === 'Right' ? 1 : 0))) {
    if (buttons.length) $('examples').append(element('p', { class: 'group' }, heads[group]), element('div', { class: 'strip' }, ...buttons));
  }
  const first = groups.Right[0] ?? groups.Images[0] ?? groups.Wrong[0];
  first?.click();
}

function makePad() {
  if (!facts.pad) return;
  const [height, width] = facts.shape;
  const grain = Math.max(4, Math.floor(320 / Math.max(height, width))); // pixels of the pad for one of the model's
  const pad = $('pad');
  [pad.width, pad.height] = [width * grain, height * grain];
  const context = pad.getContext('2d', { willReadFrequently: true });
  const pen = { x: pad.width / 2, y: pad.height / 2, down: false };
  const colour = (v) => `rgb(${v} ${v} ${v})`;
  const use = () => show(resize(pixelsOf(pad, pad.width, pad.height, 1), width, height, facts.resize));
  const clear = () => {
    context.fillStyle = colour(facts.pad.ground);
    context.fillRect(0, 0, pad.width, pad.height);
  };
  const line = (x, y) => {
    Object.assign(context, { strokeStyle: colour(facts.pad.ink), lineCap: 'round', lineJoin: 'round', lineWidth: grain * Math.max(height, width) * 0.075 });
    context.beginPath();
    context.moveTo(pen.x, pen.y);
    context.lineTo(x + 0.01, y);
    context.stroke();
    Object.assign(pen, { x, y });
  };
  const place = (event) => {
    const side = pad.getBoundingClientRect();
    return [((event.clientX - side.left) / side.width) * pad.width, ((event.clientY - side.top) / side.height) * pad.height];
  };
  pad.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    pad.setPointerCapture(event.pointerId);
    const [x, y] = place(event);
    Object.assign(pen, { x, y, down: false });
    line(x, y);
    use();
  });
  pad.addEventListener('pointermove', (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    for (const part of event.getCoalescedEvents?.() ?? []) line(...place(part));
    line(...place(event));
    use();
  });
  pad.addEventListener('keydown', (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === ' ') pen.down = !pen.down;
    else if (!dx && !dy) return;
    event.preventDefault();
    const [x, y] = [Math.min(pad.width, Math.max(0, pen.x + dx * grain)), Math.min(pad.height, Math.max(0, pen.y + dy * grain))];
    if (!pen.down) return void Object.assign(pen, { x, y });
    line(x, y);
    use();
  });
  const empty = () => {
    clear();
    paint($('stage'), resize(pixelsOf(pad, pad.width, pad.height, 1), width, height, facts.resize));
    rest('Draw something');
  };
  $('clear').addEventListener('click', empty);
  $('tab-draw').addEventListener('click', () => {
    Object.assign(moves, AT_REST);
    showMoves();
    empty();
  });
  clear();
  if (!facts.examples.shown) empty();
}

async function open(file) {
  if (!file) return;
  const [height, width, channels] = facts.shape;
  try {
    show(resize(await decode(file, channels), width, height, facts.resize));
  } catch (error) {
    const why = error instanceof RangeError ? `: ${error.message}` : `; ${ALLOWED}`;
    tell(`${file.name || 'What was given'} is not an image that can be shown${why}.`);
  }
}

function makeFiles() {
  for (const id of ['choose', 'photo']) {
    $(id).addEventListener('change', ({ target }) => {
      open(target.files[0]);
      target.value = ''; // the same file can be chosen again
    });
  }
  const inside = (on) => $('source').classList.toggle('over', on);
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    inside(true);
  });
  document.addEventListener('dragleave', (event) => event.relatedTarget ?? inside(false));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    inside(false);
    const [file] = event.dataTransfer.files;
    if (file) open(file);
    else tell(`What was dropped is no file; ${ALLOWED}.`);
  });
  document.addEventListener('paste', (event) => {
    const [file] = event.clipboardData.files;
    if (file) open(file);
    else tell(`What was pasted is no image; ${ALLOWED}.`);
  });
}

let stream = null;

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('video').hidden = true;
  $('video').srcObject = null;
  $('camera').textContent = 'Start the camera';
}

async function startCamera() {
  tell('');
  if (!navigator.mediaDevices?.getUserMedia) {
    tell('This browser gives a page the camera on https or on this machine only; choose a file instead.');
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 640 } }, audio: false });
  } catch (error) {
    const why = { NotAllowedError: 'was refused: allow it in the browser, or choose a file', NotFoundError: 'was not found: choose a file instead' };
    tell(`The camera ${why[error.name] ?? `cannot be used (${error.message}): choose a file instead`}.`);
    return;
  }
  const video = $('video');
  video.srcObject = stream;
  video.hidden = false;
  $('camera').textContent = 'Hold this image';
  await video.play().catch(() => {});
  const [height, width, channels] = facts.shape;
  const mine = stream;
  const look = () => {
    if (stream !== mine) return;
    if (video.videoWidth && answered === version) {
      show(resize(pixelsOf(video, video.videoWidth, video.videoHeight, channels), width, height, facts.resize));
    }
    setTimeout(look, 50);
  };
  look();
}

function makeCamera() {
  $('camera').addEventListener('click', () => (stream ? stopCamera() : startCamera()));
  document.addEventListener('visibilitychange', () => document.hidden && stopCamera());
}

// What the page verifies of itself.

/** Runs the images that it carries, and decodes those that it carries, as Python did. */
export async function verify() {
  const found = { images: examples.images.length, agree: 0, difference: 0, probes: [] };
  for (const [i, image] of examples.images.entries()) {
    const scores = await model.scores(image);
    found.agree += facts.shares && facts.task !== 'multilabel' ? bestOf(scores) === bestOf(examples.scores[i]) : agrees(scores, examples.scores[i]);
    scores.forEach((v, k) => { found.difference = Math.max(found.difference, Math.abs(v - examples.scores[i][k])); });
    if (i % 4 === 3) await pause();
  }
  const [height, width, channels] = facts.shape;
  for (const [i, { name, content }] of facts.probes.entries()) {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    const { data } = resize(await decode(new Blob([bytes]), channels), width, height, facts.resize);
    const apart = data.map((v, k) => Math.abs(v - examples.probes[i].data[k]));
    found.probes.push({ name, most: Math.max(...[0, ...new Set(apart)]), share: apart.filter(Boolean).length / apart.length });
  }
  return found;
}

/** Of several labels, all on the same side; of a number, the same within a thousandth. */
function agrees(scores, others) {
  const side = facts.threshold ?? 0.5;
  if (facts.shares) return scores.every((v, i) => v >= side === others[i] >= side);
  return Math.abs(scores[0] - others[0]) <= 1e-3 * Math.max(1, Math.abs(others[0]));
}

function showVerified(found, digest, first) {
  const which = facts.examples.shown ? facts.examples.words : 'made up images';
  const line = (good, text) => element('li', { class: good ? 'good' : 'bad' }, text);
  const lines = [line(found.agree === found.images, `${found.agree} of ${found.images} ${which}: the same answer as LiteRT gave in Python; `
    + (found.difference ? `scores differ by at most ${small(found.difference)}.` : 'scores are equal to the last bit.'))];
  const equal = found.probes.filter(({ most }) => most === 0).map(({ name }) => name);
  if (equal.length) lines.push(line(true, `Decoded and resized to the same pixels as in Python: ${equal.join(', ')}.`));
  for (const { name, most, share } of found.probes) {
    if (most) lines.push(line(most <= 2, `${name}: ${percent(share)} of the pixels' values differ from Python's, by at most ${most} of 255.`));
  }
  if (digest !== null) lines.push(line(digest === facts.sha256, digest === facts.sha256 ? 'The file is the one that was given, by its SHA-256.' : 'The file is another than was given: its SHA-256 differs.'));
  lines.push(element('li', { class: 'quiet' }, `First score after ${(first / 1000).toFixed(2)} s; ${small(model.pace)} ms an image.`));
  for (const remark of facts.remarks) lines.push(element('li', { class: 'quiet' }, `${remark}.`));
  if (!facts.named) lines.push(element('li', { class: 'quiet' }, 'The file carries no labels: answers are numbers of classes, from 0.'));
  $('verified').replaceChildren(...lines);
}

function showAbout() {
  const [height, width, channels] = facts.shape;
  const rule = { fill: 'covers the frame, the rest is cropped', fit: 'all of it, between black bars', stretch: 'without regard to its aspect ratio' };
  const about = {
    File: `${facts.file}, ${count(facts.bytes)} bytes`,
    Model: `${facts.model}${facts.kind ? `, ${facts.kind}` : ''}`,
    Image: `${width} × ${height}, ${channels === 1 ? 'grey' : 'RGB'}, as ${facts.input.dtype}`,
    Resizing: `${facts.resize}: ${rule[facts.resize]}`,
    Classes: facts.named ? facts.classes.slice(0, 20).join(', ') + (facts.classes.length > 20 ? ', …' : '') : `${facts.classes.length}, without names`,
    Runtime: `LiteRT.js ${facts.runtime.version}, ${facts.runtime.from ? `from ${facts.runtime.from}` : 'beside this page'}`,
    'SHA-256': facts.sha256,
  };
  if (facts.threshold !== null) about.Threshold = percent(facts.threshold);
  for (const [key, value] of Object.entries(about)) $('about').append(element('dt', {}, key), element('dd', {}, value));
}

/** Scores, images and decoded probes out of one file. */
function unpack(buffer) {
  const [height, width, channels] = facts.shape;
  const { count: images } = facts.examples;
  const [classes, size] = [facts.classes.length, height * width * channels];
  const pixels = (i) => ({ width, height, channels, data: new Uint8Array(buffer, 4 * images * classes + i * size, size) });
  return {
    scores: Array.from({ length: images }, (_, i) => new Float32Array(buffer, 4 * i * classes, classes)),
    images: Array.from({ length: images }, (_, i) => pixels(i)),
    probes: facts.probes.map((_, i) => pixels(images + i)),
  };
}

async function digestOf(content) {
  if (!crypto.subtle) return null; // given to pages on https or of this machine only
  const digest = await crypto.subtle.digest('SHA-256', content);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function start() {
  facts = JSON.parse(new TextDecoder().decode(await bytesOf({ url: 'demo.json' })));
  const content = bytesOf({ url: facts.model_file });
  const [loaded, arrays] = await Promise.all([
    Model.load(facts, content).catch((error) => { throw new Error(`LiteRT.js, or the file in it, cannot be loaded: ${error.message}`); }),
    bytesOf({ url: facts.arrays }),
  ]);
  examples = unpack(arrays);
  makeBars();
  makeMoves();
  makeTabs();
  makeExamples();
  makePad();
  makeFiles();
  makeCamera();
  showAbout();
  const scored = source && new Promise((go) => document.addEventListener('scored', () => go(performance.now()), { once: true }));
  if (!source && !facts.pad) rest('No image yet');
  $('start').hidden = true;
  model = loaded;
  await model.scores(examples.images[0]); // the first one is slow: it plans its memory
  pump();
  const first = (await scored) || performance.now();
  const digest = await digestOf(await content);
  const found = await verify();
  showVerified(found, digest, first);
  document.dispatchEvent(new CustomEvent('verified', { detail: { ...found, digest, first } }));
  document.documentElement.dataset.ready = JSON.stringify({ ...found, digest: digest === facts.sha256, first });
}

start().catch((error) => {
  $('name').textContent = 'It does not start';
  $('share').textContent = '';
  $('verified').replaceChildren();
  tell(`${error.message}.`);
});

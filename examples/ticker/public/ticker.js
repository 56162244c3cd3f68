const { Client } = window.StompJs;
const { broker } = await (await fetch('settings.json')).json();

const $ = id => document.getElementById(id);
const ROWS = 50;    // symbols shown at most
const POINTS = 60;  // prices in the small line

const stocks = new Map();  // symbol -> { run, number, price, first, history, messages, skipped, row }
let offset = Infinity;     // the smallest difference between our clock and a message's time
let late = 0;              // ms the slowest message since the last look was behind the fastest ever
let received = 0;          // prices since the last look
let drawing = false;

const client = new Client({
  brokerURL: broker,
  reconnectDelay: 2000,
  beforeConnect: () => state('', 'connecting…'),
  onConnect: () => {
    state('up', 'connected');
    client.subscribe('/topic/ticker.*', message => arrived(message.body));
  },
  onStompError: frame => state('down', `refused: ${frame.headers.message}`),
  onWebSocketClose: () => state('down', 'cut off, trying again…'),
});

function state(kind, words) {
  $('state').className = kind;
  $('state').textContent = words;
}

// ---- Prices

// Anybody may publish to these topics: what is no price is passed over.
function priceIn(body) {
  try {
    const { symbol, price, number, run, at } = JSON.parse(body);
    const sound = typeof symbol === 'string' && [price, number, at].every(Number.isFinite);
    return sound ? { symbol: symbol.slice(0, 12), price, number, run: String(run), at } : null;
  } catch {
    return null;
  }
}

function arrived(body) {
  const price = priceIn(body);
  if (!price) return;
  const stock = stocks.get(price.symbol) ?? listed(price);
  if (!stock) return;
  // A restarted publisher counts from the beginning again: that is no gap.
  if (stock.run === price.run && price.number > stock.number + 1) stock.skipped += price.number - stock.number - 1;
  Object.assign(stock, { run: price.run, number: price.number, price: price.price });
  stock.messages += 1;
  stock.history.push(price.price);
  if (stock.history.length > POINTS) stock.history.shift();
  offset = Math.min(offset, Date.now() - price.at);
  late = Math.max(late, Date.now() - price.at - offset);
  received += 1;
  draw();
}

function listed({ symbol, price, run, number }) {
  if (stocks.size >= ROWS) return null;
  const stock = { run, number, price, first: price, history: [], messages: 0, skipped: 0, row: rowFor(symbol) };
  stocks.set(symbol, stock);
  const rows = [...stocks].sort(([a], [b]) => a.localeCompare(b)).map(([, { row }]) => row.line);
  $('prices').replaceChildren(...rows);
  return stock;
}

// ---- The table

function rowFor(symbol) {
  const line = document.createElement('tr');
  const name = Object.assign(document.createElement('th'), { scope: 'row', textContent: symbol });
  const cell = className => Object.assign(document.createElement('td'), { className });
  const [price, change, history, messages, skipped] = ['number', 'number', 'line', 'number', 'number'].map(cell);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const points = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  svg.setAttribute('viewBox', '0 0 110 26');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(points);
  history.append(svg);
  line.append(name, price, change, history, messages, skipped);
  return { line, price, change, points, messages, skipped };
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const stock of stocks.values()) drawRow(stock);
    $('skipped').textContent = [...stocks.values()].reduce((sum, { skipped }) => sum + skipped, 0).toLocaleString();
  });
}

function drawRow({ row, price, first, history, messages, skipped }) {
  const change = (price / first - 1) * 100;
  row.price.textContent = price.toFixed(2);
  row.change.textContent = `${change >= 0 ? '+' : '−'}${Math.abs(change).toFixed(2)} %`;
  row.change.className = `number ${change >= 0 ? 'up' : 'down'}`;
  row.messages.textContent = messages.toLocaleString();
  row.skipped.textContent = skipped.toLocaleString();
  const low = Math.min(...history), span = Math.max(...history) - low || 1;
  const place = (value, index) => `${(index * 110 / (POINTS - 1)).toFixed(1)},${(24 - 22 * (value - low) / span).toFixed(1)}`;
  row.points.setAttribute('points', history.map(place).join(' '));
}

let looked = performance.now();
setInterval(() => {
  const seconds = (performance.now() - looked) / 1000;
  $('rate').textContent = Math.round(received / seconds).toLocaleString();
  $('behind').textContent = received ? `${late.toLocaleString()} ms` : '–';
  looked = performance.now();
  received = late = 0;
}, 1000);

client.activate();

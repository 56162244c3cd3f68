const { Client } = window.StompJs;
const { broker } = await (await fetch('settings.json')).json();

const $ = id => document.getElementById(id);
const KEPT = 300;            // messages kept on the page
const ANNOUNCE = 30_000;     // ms between two signs of presence
const FORGOTTEN = 100_000;   // ms after which a silent page counts as gone
const CROWD = 200;           // people listed at most

const me = Array.from(crypto.getRandomValues(new Uint8Array(8)), byte => byte.toString(16).padStart(2, '0')).join('');
const people = new Map();    // page id -> { name, seen }
let room = '';
let subscriptions = [];

// ---- The connection: the library makes it again whenever it breaks.

const client = new Client({
  brokerURL: broker,
  reconnectDelay: 2000,
  beforeConnect: () => state('', 'connecting…'),
  onConnect: () => {
    state('up', 'connected');
    subscriptions = [];  // those of the old connection went with it
    enter();
  },
  onStompError: frame => note(`The broker refuses: ${frame.headers.message}`),
  onWebSocketClose: () => {
    state('down', 'cut off, trying again…');
    people.clear();
    showPeople();
  },
});

function state(kind, words) {
  $('state').className = kind;
  $('state').textContent = words;
  $('say').querySelector('button').disabled = kind !== 'up';
}

function publish(topic, content) {
  if (client.connected) client.publish({ destination: `/topic/${topic}.${room}`, body: JSON.stringify(content), headers: { 'content-type': 'application/json' } });
}

// ---- Rooms

// The address is anybody's to write: only letters, digits, - and _ become part of a destination.
function roomInAddress() {
  let typed = '';
  try {
    typed = decodeURIComponent(location.hash.slice(1));
  } catch { /* not a percent-encoding: no room */ }
  return typed.replace(/[^\p{L}\p{N}_-]/gu, '').slice(0, 40).toLowerCase() || 'lobby';
}

function enter() {
  subscriptions = [
    client.subscribe(`/topic/chat.${room}`, message => heard(message.body)),
    client.subscribe(`/topic/presence.${room}`, message => sighted(message.body)),
  ];
  announce('who');
}

function changeRoom() {
  const next = roomInAddress();
  if (next === room) return;
  if (room) announce('gone');
  for (const subscription of subscriptions) if (client.connected) subscription.unsubscribe();
  room = next;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${room}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${room} · Chat`;
  $('said').replaceChildren();
  note(`You are in ${room}.`);
  people.clear();
  showPeople();
  if (client.connected) enter();
}

// ---- What is said

function heard(body) {
  const said = parsed(body);
  const from = typeof said?.from === 'string' ? said.from.slice(0, 30) : 'someone';
  const text = typeof said?.text === 'string' ? said.text : body;  // any STOMP client may speak here, in plain text too
  const line = document.createElement('li');
  const who = document.createElement('b');
  who.textContent = from;
  line.append(who, text.slice(0, 2000));
  line.className = said?.id === me ? 'mine' : '';
  append(line);
}

function note(words) {
  const line = document.createElement('li');
  line.className = 'note';
  line.textContent = words;
  append(line);
}

function append(line) {
  const list = $('said');
  list.append(line);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

// ---- Who is there

const announce = kind => publish('presence', { kind, id: me, name: $('name').value });

function sighted(body) {
  const sign = parsed(body);
  if (typeof sign?.id !== 'string' || typeof sign.name !== 'string') return;
  if (sign.kind === 'gone') people.delete(sign.id);
  else if (people.has(sign.id) || people.size < CROWD) people.set(sign.id, { name: sign.name.slice(0, 30), seen: performance.now() });
  if (sign.kind === 'who' && sign.id !== me) announce('here');
  showPeople();
}

function showPeople() {
  for (const [id, { seen }] of people) if (performance.now() - seen > FORGOTTEN) people.delete(id);
  const names = [...people].map(([id, { name }]) => id === me ? `${name} (you)` : name).sort((a, b) => a.localeCompare(b));
  $('here').replaceChildren(...names.map(name => Object.assign(document.createElement('li'), { textContent: name })));
}

setInterval(() => { announce('here'); showPeople(); }, ANNOUNCE);

// ---- What you do

$('name').value = sessionStorage.getItem('name') ?? `guest-${me.slice(0, 4)}`;
$('name').addEventListener('change', () => {
  sessionStorage.setItem('name', $('name').value);
  announce('here');
});
$('naming').addEventListener('submit', event => {
  event.preventDefault();
  $('text').focus();
});
$('other').addEventListener('submit', event => {
  event.preventDefault();
  location.hash = $('room').value.toLowerCase();
  $('room').value = '';
});
$('say').addEventListener('submit', event => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim() || !client.connected) return;
  publish('chat', { id: me, from: $('name').value, text });
  $('text').value = '';
});
window.addEventListener('hashchange', changeRoom);
window.addEventListener('pagehide', () => announce('gone'));

changeRoom();
client.activate();

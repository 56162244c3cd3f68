const { Client } = window.StompJs;
const $ = id => document.getElementById(id);
const KEPT = 300;  // messages kept on the page

let client = null;
let me = '';
let to = null;     // the one we speak to alone, or null for all

// ---- In and out

$('enter').addEventListener('submit', event => {
  event.preventDefault();
  me = $('name').value.trim();
  $('refused').textContent = '';
  client = new Client({
    brokerURL: new URL('ws', location.href).href.replace(/^http/, 'ws'),
    connectHeaders: { login: me },
    reconnectDelay: 2000,
    beforeConnect: () => state('', 'connecting…'),
    onConnect: entered,
    onStompError: frame => refused(frame.headers.message),
    onWebSocketClose: () => state('down', 'cut off, trying again…'),
  });
  client.activate();
});

$('leave').addEventListener('click', leave);

function entered() {
  client.subscribe('/topic/said', message => heard(JSON.parse(message.body)));
  client.subscribe('/user/queue/whispers', message => heard(JSON.parse(message.body)));
  client.subscribe('/user/queue/refusals', message => note(message.body));
  client.subscribe('/topic/people', message => showPeople(JSON.parse(message.body)));
  client.subscribe('/app/people', message => showPeople(JSON.parse(message.body)));
  state('up', `connected as ${me}`);
  inside(true);
  $('text').focus();
}

function leave() {
  client.onWebSocketClose = () => state('', '');
  client.deactivate();
  inside(false);
  $('said').replaceChildren();
}

// Spring refuses with an ERROR: a name at the door, or later what the broker did not like.
function refused(why) {
  if ($('enter').hidden) return note(`Refused: ${why}`);
  leave();
  $('refused').textContent = why;
}

function inside(is) {
  $('enter').hidden = is;
  $('leave').hidden = !is;
  document.querySelector('main').hidden = !is;
  if (!is) speakTo(null);
}

function state(kind, words) {
  $('state').className = kind;
  $('state').textContent = words;
  $('say').querySelector('button:not([type])').disabled = kind !== 'up';
}

// ---- What is said: it becomes text nodes, never markup

function heard({ from, to, text }) {
  const line = document.createElement('li');
  const who = document.createElement('b');
  who.textContent = to === null ? from : `${from} to ${to} alone`;
  line.append(who, text);
  line.className = [from === me && 'mine', to !== null && 'alone'].filter(Boolean).join(' ');
  append(line);
}

function note(words) {
  append(Object.assign(document.createElement('li'), { className: 'note', textContent: words }));
}

function append(line) {
  const list = $('said');
  list.append(line);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

// ---- Who is there

function showPeople(names) {
  $('people').replaceChildren(...names.map(name => {
    const person = Object.assign(document.createElement('button'), { type: 'button', textContent: name === me ? `${name} (you)` : name, disabled: name === me });
    person.dataset.name = name;
    person.addEventListener('click', () => speakTo(name === to ? null : name));
    const item = document.createElement('li');
    item.append(person);
    return item;
  }));
  speakTo(names.includes(to) ? to : null);
}

function speakTo(name) {
  to = name;
  $('to').hidden = to === null;
  $('to').textContent = `${to} ✕`;
  $('text').placeholder = to === null ? 'Say something to all…' : `Say something to ${to} alone…`;
  for (const person of document.querySelectorAll('#people button')) person.setAttribute('aria-pressed', person.dataset.name === to);
}

$('to').addEventListener('click', () => speakTo(null));

$('say').addEventListener('submit', event => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim() || !client.connected) return;
  client.publish({ destination: to === null ? '/app/say' : '/app/whisper', body: JSON.stringify({ to, text }), headers: { 'content-type': 'application/json' } });
  $('text').value = '';
});

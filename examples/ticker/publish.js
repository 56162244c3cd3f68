// Sends made-up prices to /topic/ticker.SYMBOL, RATE a second in all.
import { Client } from '@stomp/stompjs';
import { WebSocket } from 'ws';

Object.assign(globalThis, { WebSocket });  // Node has one of its own from version 22 on

const rate = Number(process.env.RATE ?? 20);
const run = Date.now().toString(36);  // tells a restarted publisher, whose numbers begin again, from lost messages
const stocks = Object.entries({ ARAB: 128.4, FJORD: 64.15, MUSTANG: 211.9, PONY: 12.06, SHIRE: 340.25, TARPAN: 87.7 })
  .map(([symbol, price]) => ({ symbol, price, number: 0 }));

const client = new Client({
  brokerURL: process.env.BROKER ?? 'ws://127.0.0.1:15674/ws',
  reconnectDelay: 1000,
  onConnect: () => console.log(`Publishing ${rate} prices a second`),
  onStompError: frame => console.error(`The broker refuses: ${frame.headers.message}\n${frame.body}`),
  onWebSocketClose: () => console.error('No connection to the broker; trying again'),
});

function tick() {
  if (!client.connected) return;
  const stock = stocks[Math.floor(Math.random() * stocks.length)];
  stock.price = Math.max(0.01, stock.price * (1 + (Math.random() - 0.5) / 100));
  stock.number += 1;
  const { symbol, price, number } = stock;
  client.publish({
    destination: `/topic/ticker.${symbol}`,
    body: JSON.stringify({ symbol, price: Number(price.toFixed(2)), number, run, at: Date.now() }),
    headers: { 'content-type': 'application/json' },
  });
}

client.activate();
// Timers are good for some 100 turns a second, so a turn sends what its share of the second asks for.
const turns = Math.min(rate, 100);
let owed = 0;
setInterval(() => {
  for (owed += rate / turns; owed >= 1; owed -= 1) tick();
}, 1000 / turns);

// The columns of the table. A program is started with one argument, a job as JSON; README.md says what it must answer.
// `needs` is the address without which a client has nothing to connect to: url (the default) or tcp.
const node = ['node', 'js/node.mjs'];
const chromium = ['node', 'js/chromium.mjs'];
const python = ['.venv/bin/python', 'python/stomp_py.py'];
const go = [process.env.GO_CLIENT ?? 'go/client'];

export const clients = [
  {
    name: 'stompjs 7, Node',
    program: node,
    adapter: 'stompjs',
    absent: { hidden: 'Node has no tabs: the next column has' },
  },
  { name: 'stompjs 7, Chromium', program: chromium, adapter: 'stompjs' },
  // These three run in Node, but in Chromium for the scenario that needs a tab.
  { name: 'rx-stomp', program: node, tab: chromium, adapter: 'rx-stomp' },
  { name: 'stompjs 2.3.3', program: node, tab: chromium, adapter: 'stompjs-2' },
  { name: 'webstomp-client', program: node, tab: chromium, adapter: 'webstomp' },
  { name: 'stomp.py, 1.0', needs: 'tcp', program: python, adapter: '1.0' },
  { name: 'stomp.py, 1.1', needs: 'tcp', program: python, adapter: '1.1' },
  { name: 'stomp.py, 1.2', needs: 'tcp', program: python, adapter: '1.2' },
  { name: 'stomp.py, WebSocket', program: python, adapter: 'ws' },
  { name: 'go-stomp', needs: 'tcp', program: go, adapter: 'go-stomp' },
];

const channel = 'room.42';
const token = location.hash.slice(1);
let since,
  socket,
  lastId = 0;

function connect() {
  socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws`, ['ws-gateway.v1', `bearer.${token}`]);
  socket.onopen = () => send('subscribe', { channel, since });
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = () => setTimeout(connect, 1_000 * Math.random());
}

function send(event, data) {
  socket.send(JSON.stringify({ event, data, id: ++lastId }));
}

function receive({ event, data, channel: from, offset }) {
  if (event === 'subscribe') {
    if (data.recovered === false) show('… some messages are missing');
    since = { epoch: data.epoch, offset: data.offset - (data.replayed ?? 0) };
  } else if (event === 'gap') {
    show('… some messages are missing');
    since = { epoch: data.epoch, offset: data.offset };
  } else if (from === channel && offset !== undefined) {
    since.offset = offset; // what comes next is behind it, also after the connection was broken
    show(data.text);
  } else if (event === 'exception') show(data.message);
}

function show(text) {
  messages.append(Object.assign(document.createElement('li'), { textContent: text }));
}

form.onsubmit = (submitted) => {
  submitted.preventDefault();
  send('publish', { channel, event: 'chat.message', data: { text: text.value } });
  text.value = '';
};
connect();

import { WebSocketServer } from 'ws';

new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) }).on('connection', (socket, request) => {
  const who = decodeURIComponent(request.headers['x-auth-subject'] ?? 'nobody');
  socket.on('message', (data) => socket.send(`${who}: ${data}`));
});

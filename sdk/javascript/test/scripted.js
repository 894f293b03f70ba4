// A server on loopback that answers each connection with the next of its scripts, the last one again and again; null
// says nothing and waits for the client to go.

import net from "node:net";

export async function scripted(...scripts) {
  const requests = [];
  const sockets = new Set();
  const left = deferred();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let received = "";
    let answered = false;
    socket.setEncoding("utf8");
    socket.on("error", () => {}); // a client that leaves resets the connection
    socket.on("close", () => {
      sockets.delete(socket);
      left.resolve();
    });
    socket.on("data", (piece) => {
      received += piece;
      if (answered || !whole(received)) return;
      answered = true;
      requests.push(received);
      const script = scripts[Math.min(requests.length, scripts.length) - 1];
      if (script !== null) socket.end(script);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    left: left.promise,
    close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy(); // fetch keeps one for later
      return closed;
    },
  };
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}

function whole(request) {
  const end = request.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /content-length: (\d+)/i.exec(request)?.[1];
  return length === undefined || Buffer.byteLength(request.slice(end + 4)) >= Number(length);
}

export function response(status, body, ...headers) {
  const lines = [`HTTP/1.1 ${status} Said`, `Content-Length: ${Buffer.byteLength(body)}`, "Connection: close", ...headers];
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}

export const json = (value) => response(200, JSON.stringify(value), "Content-Type: application/json");

export function refusal(status, ...headers) {
  const body = { status, code: "busy", detail: "Not now.", hint: "Later.", request_id: "r-1" };
  return response(status, JSON.stringify(body), "Content-Type: application/problem+json", ...headers);
}

/** The beginning of a stream that ends where the connection does. */
export function stream(...events) {
  const frames = events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("");
  const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  return head + (frames ? `${Buffer.byteLength(frames).toString(16)}\r\n${frames}\r\n` : "");
}

// Passes calls on to the published client. One command a line on standard
// input, {"id", "op", ...}; one answer a line on standard output, {"id",
// "result"} or {"id", "error"}. Commands run side by side, as in a browser: a
// watcher's Next may wait while others are answered.
import { createInterface } from "node:readline";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import websocket from "websocket";
import { connect } from "@canonical/jujulib";

// The library writes to the console; standard output belongs to the answers.
console.log = console.error;

const library = dirname(fileURLToPath(import.meta.resolve("@canonical/jujulib")));
const folders = join(library, "facades");
const facades = [];
for (const name of readdirSync(folders).sort()) {
  facades.push((await import(join(folders, name, "index.js"))).default);
}

const clients = new Map();
const connections = new Map();

const operations = {
  // connect opens a connection that is called by a name from then on.
  async connect({ name, url }) {
    clients.set(
      name,
      await connect(url, { facades, wsclass: websocket.w3cwebsocket, closeCallback: () => {} }),
    );
  },
  // login answers what a dashboard looks at: who, where, and which facades.
  async login({ name, username, password }) {
    const conn = await clients.get(name).login({ username, password });
    connections.set(name, conn);
    const versions = {};
    for (const [facade, object] of Object.entries(conn.facades)) {
      versions[facade] = object.VERSION;
    }
    return { info: conn.info, versions };
  },
  async call({ name, facade, method, params }) {
    const object = connections.get(name).facades[facade];
    if (!object) {
      throw new Error(`the server offers no version of ${facade} that the client knows`);
    }
    return await object[method](params);
  },
  async logout({ name }) {
    return await new Promise((resolve) => clients.get(name).logout((code) => resolve({ code })));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  operations[command.op](command)
    .then((result) => ({ id: command.id, result: result ?? null }))
    .catch((error) => ({ id: command.id, error: error.message || String(error) }))
    .then((answer) => process.stdout.write(JSON.stringify(answer) + "\n"));
}
